"""The broker and the server of the benchmarks, and CPU time and memory of their processes."""

import os
import pwd
import subprocess
import sys
import tempfile

import psycopg2

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TOOL = os.path.join(ROOT, "build", "eddy-kafka-tool")
PLUGINS = "output_plugin_libraries"
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid, children=False):
    """CPU seconds of a process with all its threads, optionally including its exited children."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(field) for field in fields[11 : 15 if children else 13]) / TICKS


def exact_cpu_of(pid):
    """CPU seconds of the present threads of a process, to the nanosecond."""
    used = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
            used += int(stat.read().split()[0])
    return used / 1e9


def anonymous_of(pid):
    """Anonymous memory of a process in kB, that is, without shared buffers and files."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
    except FileNotFoundError:
        pass
    return 0


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]


def as_server_user(command):
    """The server refuses to run as root."""
    return ["runuser", "-u", "postgres", "--"] + command if os.getuid() == 0 else command


def run(command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **options).stdout


class Broker:
    def __init__(self, directory):
        self.directory = directory
        self.script = os.path.join(ROOT, "test", "kafka", "broker")
        self.address = run([self.script, "start", directory]).strip()
        self.pid = int(run([self.script, "pid", directory]))

    def calm_compilers(self):
        """Gives the compilers of the broker's virtual machine, which run at any time, the lowest priority."""
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{thread}/comm") as name:
                    if name.read().startswith(("C1 ", "C2 ")):
                        os.setpriority(os.PRIO_PROCESS, int(thread), 19)
            except (FileNotFoundError, ProcessLookupError):
                pass  # they come and go

    def tool(self, command, topic, *arguments):
        """Runs eddy-kafka-tool, and returns its output."""
        command = [TOOL, command, "-b", self.address, "-t", topic, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            sys.exit(result.stderr)
        return result.stdout

    def preload(self, topic, partitions, events, *arguments, kind="bids"):
        """Creates a topic and fills it with events of a generator of eddy-kafka-tool."""
        self.tool("create-topic", topic, "-p", str(partitions))
        self.tool(kind, topic, "-n", str(events), *arguments)
        if self.ends(topic) != events:
            sys.exit(f"topic {topic} does not contain all events")

    def ends(self, topic):
        lines = self.tool("watermarks", topic).splitlines()
        return sum(int(line.split("\t")[2]) for line in lines)

    def stop(self):
        subprocess.run([self.script, "kill", self.directory], check=False)


def new_directory(parent=None):
    """A scratch directory that the server's user owns."""
    directory = tempfile.mkdtemp(prefix="pg_eddy-bench-", dir=parent)
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(directory, user.pw_uid, user.pw_gid)
    return directory


class Server:
    """A private cluster with the settings documented in README.md."""

    def __init__(self, directory, pg_config, settings="", with_eddy=True, program=None):
        """program: that pg_ctl starts instead of postgres."""
        self.bindir = run([pg_config, "--bindir"]).strip()
        library = os.path.join(run([pg_config, "--pkglibdir"]).strip(), "pg_eddy.so")
        if with_eddy and not os.path.exists(library):
            sys.exit("pg_eddy is not installed: make && make install")
        self.data = os.path.join(directory, "data")
        self.socket = directory
        self.port = 20000 + os.getpid() % 10000
        run(
            as_server_user(
                [
                    f"{self.bindir}/initdb",
                    "-D",
                    self.data,
                    "-A",
                    "trust",
                    "-U",
                    "postgres",
                    "-E",
                    "UTF8",
                    "--no-locale",
                ]
            )
        )
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
        with open(os.path.join(self.data, "postgresql.conf"), "a") as conf:
            conf.write(f"""
listen_addresses = ''
port = {self.port}
unix_socket_directories = '{self.socket}'
shared_preload_libraries = '{"pg_eddy" if with_eddy else ""}'
shared_buffers = {min(2048, memory // 4)}MB
max_wal_size = 8GB
checkpoint_timeout = 15min
wal_level = logical
synchronous_commit = on
fsync = on
jit = off
max_worker_processes = 16
{settings}
""")
            # a setting that the server may not have
            probe = as_server_user([f"{self.bindir}/postgres", "-D", self.data, "-C", PLUGINS])
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                conf.write(f"{PLUGINS} = 'pgoutput, test_decoding, pg_eddy_cdc'\n")
        log = os.path.join(directory, "log")
        if (
            subprocess.run(
                as_server_user(
                    [f"{self.bindir}/pg_ctl", "-D", self.data, "-l", log, "-w"]
                    + (["-p", program] if program else [])
                    + ["start"]
                ),
                stdout=subprocess.DEVNULL,
            ).returncode
            != 0
        ):
            with open(log) as text:
                sys.exit(text.read())
        with open(os.path.join(self.data, "postmaster.pid")) as pidfile:
            self.pid = int(pidfile.readline())

    def dsn(self, database):
        return f"host={self.socket} port={self.port} user=postgres dbname={database}"

    def connect(self, database):
        connection = psycopg2.connect(self.dsn(database))
        connection.autocommit = True
        return connection

    def drop_database(self, name):
        with self.connect("postgres").cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def new_database(self, name):
        self.drop_database(name)
        with self.connect("postgres").cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute("CHECKPOINT")

    def cpu(self):
        """CPU seconds of all processes of the server, including exited ones."""
        return cpu_of(self.pid, children=True) + sum(cpu_of(pid) for pid in children_of(self.pid))

    def stop(self):
        subprocess.run(
            as_server_user([f"{self.bindir}/pg_ctl", "-D", self.data, "-m", "immediate", "stop"]),
            check=False,
            stdout=subprocess.DEVNULL,
        )

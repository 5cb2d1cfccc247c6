"""A private server for benchmarks."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{scratch}'
shared_preload_libraries = 'pg_eddy'
jit = off
"""


def is_session(pid):
    """True for a backend of a local client, also one that has ended and whose CPU time its parent has not taken yet."""
    try:
        with open(f'/proc/{pid}/cmdline', 'rb') as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return line == b'' or b'[local]' in line


class Server:
    """A server in a scratch directory; it does not run as root."""

    def __init__(self, pg_config, name):
        self.bindir = subprocess.run([pg_config, '--bindir'], capture_output=True, text=True,
                                     check=True).stdout.strip()
        self.libdir = subprocess.run([pg_config, '--pkglibdir'], capture_output=True, text=True,
                                     check=True).stdout.strip()
        self.scratch = tempfile.mkdtemp(prefix=f'pg_eddy-bench-{name}.')
        if os.getuid() == 0:
            shutil.chown(self.scratch, 'postgres', 'postgres')
        os.chmod(self.scratch, 0o755)
        self.data = os.path.join(self.scratch, 'data')
        self.run('initdb', '-D', self.data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8',
                 '--locale=C.UTF-8', '--no-sync')

    def command(self, program, *arguments):
        """The command line of a program of the server, or of another one given by its path."""
        path = program if program.startswith('/') else os.path.join(self.bindir, program)
        command = [path, *arguments]
        return ['runuser', '-u', 'postgres', '--'] + command if os.getuid() == 0 else command

    def run(self, program, *arguments, text=None):
        result = subprocess.run(self.command(program, *arguments), input=text or '', text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                                cwd=self.scratch)
        if result.returncode != 0:
            sys.exit(f'{program} failed:\n{result.stdout}{result.stderr}')
        return result.stdout

    def knows(self, setting):
        return subprocess.run(self.command('postgres', '-C', setting, '-D', self.data),
                              capture_output=True, check=False).returncode == 0

    def start(self, settings=''):
        with open(os.path.join(self.data, 'postgresql.conf'), 'a', encoding='utf-8') as file:
            file.write(SETTINGS.format(scratch=self.scratch) + settings)
        self.start_again()

    def start_again(self):
        self.run('pg_ctl', '-D', self.data, '-l', os.path.join(self.scratch, 'log'), '-w', 'start')

    def shut_down(self):
        self.run('pg_ctl', '-D', self.data, '-m', 'fast', '-w', 'stop')

    def stop(self):
        if os.path.exists(os.path.join(self.data, 'postmaster.pid')):
            self.run('pg_ctl', '-D', self.data, '-m', 'immediate', '-w', 'stop')
        shutil.rmtree(self.scratch)

    def wait_for_exits(self, pid):
        """Waits until no session is left: a client does not wait for the exit of its backend."""
        for _ in range(500):
            with open(f'/proc/{pid}/task/{pid}/children', encoding='utf-8') as file:
                children = file.read().split()
            if not any(is_session(child) for child in children):
                return
            time.sleep(0.01)
        sys.exit('a backend does not exit')

    def backend_cpu(self):
        """CPU seconds of all backends that have exited, and of their server processes."""
        with open(os.path.join(self.data, 'postmaster.pid'), encoding='utf-8') as file:
            pid = file.readline().strip()
        self.wait_for_exits(pid)
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            fields = file.read().rpartition(')')[2].split()
        return sum(int(field) for field in fields[13:15]) / os.sysconf('SC_CLK_TCK')

    def sql(self, text):
        return self.run('psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-h', self.scratch,
                        '-U', 'postgres', '-d', 'postgres', '-f', '-', text=text)

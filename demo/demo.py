"""Demonstrates pg_eddy: from Kafka through a view to a CDC consumer, with two simulated crashes.

Run by demo/run, as an unprivileged user in a scratch directory. All processes that it starts are
stopped when it ends. The consistency check at the end uses a ledger of the orders that the broker
has acknowledged, and computes with Python's Decimal, not with PostgreSQL.
"""

import argparse
import collections
import datetime
import decimal
import json
import os
import signal
import subprocess
import sys
import threading
import time

RATE = 1000             # orders per second; the mock broker keeps only 5 MB of a partition
PARTITIONS = 4
WINDOW_SECONDS = 10
WAIT_TIMEOUT = 30       # seconds

TABLE = """CREATE UNLOGGED TABLE orders
    (order_id bigint, user_id text, amount numeric, event_time timestamptz);"""
STREAM = """SELECT eddy.create_stream('orders', event_time => 'event_time',
    delay => '5 seconds');"""
VIEW = """SELECT eddy.create_continuous_view('revenue_10s', $$
    SELECT user_id, w.window_start, w.window_end, sum(amount) AS revenue, count(*) AS orders
    FROM orders, eddy.tumble(event_time, '10 seconds') AS w
    GROUP BY user_id, w.window_start, w.window_end $$);"""
FINAL = """SELECT eddy.create_continuous_view('final_10s', $$
    SELECT user_id, w.window_start, w.window_end, sum(amount) AS revenue, count(*) AS orders
    FROM orders, eddy.tumble(event_time, '10 seconds') AS w
    GROUP BY user_id, w.window_start, w.window_end $$,
    emit => 'on_close', late => 'keep');"""
TOTAL = """SELECT eddy.create_continuous_view('total', $$
    SELECT count(*) AS orders, sum(amount) AS revenue FROM orders $$);"""
SLOT = """SELECT pg_create_logical_replication_slot('dashboard', 'pg_eddy_cdc');"""
SNAPSHOT = """SELECT * FROM revenue_10s ORDER BY window_start DESC, revenue DESC LIMIT 6"""

WINDOWS = """SELECT window_end::time(0) AS window, sum(orders) AS orders_so_far,
       (SELECT sum(orders) FROM final_10s f WHERE f.window_end = r.window_end) AS orders_final
FROM revenue_10s r GROUP BY window_end ORDER BY window_end DESC LIMIT 4"""
LATE = """SELECT view, window_end::time(0) AS window, watermark::time(0) AS watermark,
       partition, "offset", row_data ->> 'order_id' AS order_id FROM eddy.late_rows"""
LATE_ORDER = decimal.Decimal('99.50')

WORKER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eddy source worker'"
CONSUMED = "SELECT coalesce(sum(next_offset), 0) FROM eddy.partitions WHERE partition >= 0"


class DemoError(Exception):
    """A failure; the text is shown to the user."""


#
# The terminal
#

terminal = sys.stdout.isatty()


def style(code, text):
    return f'\033[{code}m{text}\033[0m' if terminal else text


def say(text=''):
    print(text, flush=True)


def step(number, title):
    say()
    say(style('1;36', f'[{number}/9] {title}'))


def show(text, prompt='      '):
    for line in text.splitlines():
        say(prompt + style('33', line))


def done(text):
    say('      ' + style('32', text))


class Panel:
    """A few lines that are updated in place on a terminal, and repeated elsewhere."""

    def __init__(self):
        self.height = 0

    def draw(self, lines):
        if terminal and self.height:
            sys.stdout.write(f'\033[{self.height}F\033[J')
        for line in lines:
            say('      ' + line[:110])
        if not terminal:
            say()
        self.height = len(lines)


#
# Processes
#

class Cluster:
    """A private PostgreSQL server with a socket in the scratch directory."""

    def __init__(self, bindir, scratch):
        self.bindir = bindir
        self.scratch = scratch
        self.data = os.path.join(scratch, 'data')
        self.log = os.path.join(scratch, 'server.log')
        self.running = False

    def program(self, name):
        return os.path.join(self.bindir, name)

    def run(self, *command):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            raise DemoError(f'{" ".join(command)} failed:\n{result.stdout}')

    def log_tail(self):
        try:
            with open(self.log, encoding='utf-8', errors='replace') as log:
                return ''.join(log.readlines()[-15:])
        except OSError:
            return ''

    def create(self):
        self.run(self.program('initdb'), '-D', self.data, '-U', 'postgres', '-A', 'trust',
                 '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync')
        settings = ["listen_addresses = ''", f"unix_socket_directories = '{self.scratch}'",
                    'port = 5432', "shared_preload_libraries = 'pg_eddy'", 'wal_level = logical',
                    "timezone = 'UTC'", 'max_worker_processes = 16']
        # releases without this setting do not start with it
        known = subprocess.run([self.program('postgres'), '-D', self.data, '-C',
                                'output_plugin_libraries'], stdin=subprocess.DEVNULL,
                               capture_output=True, check=False).returncode == 0
        if known:
            settings.append("output_plugin_libraries = 'pgoutput, test_decoding, pg_eddy_cdc'")
        with open(os.path.join(self.data, 'postgresql.conf'), 'a', encoding='utf-8') as config:
            config.write('\n'.join(settings) + '\n')

    def start(self):
        self.running = True
        self.run(self.program('pg_ctl'), '-D', self.data, '-l', self.log, '-w', '-t', '30', 'start')

    def stop(self, mode):
        if self.running and os.path.exists(os.path.join(self.data, 'postmaster.pid')):
            self.run(self.program('pg_ctl'), '-D', self.data, '-m', mode, '-w', '-t', '15', 'stop')
        self.running = False

    def psql(self, *arguments):
        return subprocess.run(
            [self.program('psql'), '-X', '-q', '-h', self.scratch, '-p', '5432', '-U', 'postgres',
             '-d', 'postgres', '-v', 'ON_ERROR_STOP=1', *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def execute(self, statement):
        """Runs a statement and returns the output of psql, as tab-separated rows."""
        result = self.psql('-A', '-t', '-F', '\t', '-c', statement)
        if result.returncode != 0:
            raise DemoError(f'{statement}\n{result.stderr}')
        return result.stdout.rstrip('\n')

    def table(self, statement):
        """Returns the result in the format of psql."""
        result = self.psql('-P', 'footer=off', '-c', statement)
        if result.returncode != 0:
            raise DemoError(f'{statement}\n{result.stderr}')
        return result.stdout.rstrip('\n').splitlines()

    def number(self, statement):
        """Returns a number, or None if the server does not respond."""
        result = self.psql('-A', '-t', '-c', statement)
        text = result.stdout.strip()
        return int(text) if result.returncode == 0 and text else None


class Broker:
    """The mock cluster, a private Apache Kafka, or an existing broker of the user."""

    def __init__(self, tree, scratch, kind, address):
        self.tool_path = os.path.join(tree, 'build/eddy-kafka-tool')
        self.mock_path = os.path.join(tree, 'build/eddy-mock-broker')
        self.script = os.path.join(tree, 'test/kafka/broker')
        self.directory = os.path.join(scratch, 'kafka')
        self.kind = 'own' if address else kind
        self.address = address
        self.topic = 'orders'
        if address:
            self.topic = f'pg_eddy_demo_{int(time.time())}_{os.getpid()}'
        self.process = None
        self.topic_created = False

    def start(self):
        if self.kind == 'mock':
            # it exits when the pipe of its input is closed
            self.process = subprocess.Popen([self.mock_path, f'{self.topic}:{PARTITIONS}'],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            text=True, start_new_session=True)
            self.address = self.process.stdout.readline().strip()
            if not self.address:
                raise DemoError('could not start the mock broker')
            return
        if self.kind == 'kafka':
            result = subprocess.run([self.script, 'start', self.directory],
                                    stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                    check=False)
            if result.returncode != 0:
                raise DemoError(result.stderr)
            self.address = result.stdout.strip()
        self.tool('create-topic', '-p', str(PARTITIONS))
        self.topic_created = True

    def tool(self, command, *arguments, text=''):
        result = subprocess.run(
            [self.tool_path, command, '-b', self.address, '-t', self.topic, *arguments],
            input=text, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise DemoError(result.stderr)
        return result.stdout

    def produce(self, ledger):
        """Starts the producer of orders."""
        return subprocess.Popen(
            [self.tool_path, 'orders', '-b', self.address, '-t', self.topic, '-r', str(RATE),
             '-u', '20', '-s', str(int(time.time())), '-l', ledger],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True)

    def end_offset(self):
        lines = self.tool('watermarks').splitlines()
        return sum(int(line.split('\t')[2]) for line in lines)

    def stop(self):
        if self.kind == 'own' and self.topic_created:
            self.tool('delete-topic')
        elif self.kind == 'kafka':
            subprocess.run([self.script, 'kill', self.directory], stdin=subprocess.DEVNULL,
                           check=False)
        elif self.process:
            end_process(self.process)


class Consumer:
    """A CDC consumer: reads the output of pg_recvlogical and maintains a copy of the views.

    After a crash the server may send changes again. Each change carries the LSN of its commit and a
    sequence number; changes that are not after the last applied one are discarded.
    """

    def __init__(self, cluster):
        self.cluster = cluster
        self.process = None
        self.thread = None
        self.copy = collections.defaultdict(dict)   # view -> key -> row
        self.applied = collections.Counter()        # view -> changes that were not repeated
        self.last = (0, 0)
        self.received = 0
        self.repeated = 0
        self.lines = collections.deque(maxlen=200)
        self.lock = threading.Lock()
        self.problem = None

    def start(self):
        self.process = subprocess.Popen(
            [self.cluster.program('pg_recvlogical'), '-h', self.cluster.scratch, '-p', '5432',
             '-U', 'postgres', '-d', 'postgres', '--slot', 'dashboard', '--start', '-f', '-',
             '-F', '0', '-s', '1', '--no-loop'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            encoding='utf-8', start_new_session=True)
        self.thread = threading.Thread(target=self.read, args=(self.process.stdout,), daemon=True)
        self.thread.start()

    def read(self, stream):
        for line in stream:
            # a line truncated by a crash is sent again
            if not line.endswith('\n'):
                break
            try:
                if line.strip():
                    self.apply(line)
            except (ValueError, KeyError) as error:
                self.problem = f'{error!r} in {line}'
                break

    def apply(self, line):
        record = json.loads(line, parse_float=decimal.Decimal)
        high, low = record['lsn'].split('/')
        position = ((int(high, 16) << 32) + int(low, 16), record['seq'])
        with self.lock:
            self.received += 1
            if position <= self.last:
                self.repeated += 1
                return
            self.last = position
            self.lines.append(line.rstrip('\n'))
            self.applied[record['view']] += 1
            rows = self.copy[record['view']]
            key = json.dumps(record['key'], sort_keys=True, default=str)
            if record['op'] == 'd':
                rows.pop(key, None)
            else:
                rows[key] = record['after']

    def stop(self):
        if self.process:
            end_process(self.process, signal.SIGINT)
            self.thread.join(5)
            self.process = None


def end_process(process, number=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(what, condition, seconds=WAIT_TIMEOUT):
    """Waits until the condition returns a true value, and returns that value."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise DemoError(f'timed out after {seconds} s waiting until {what}')
        time.sleep(0.05)


#
# Consistency check
#

def read_ledger(path):
    """Returns the produced orders: (user, start of window) -> (revenue, orders)."""
    result = collections.defaultdict(lambda: [decimal.Decimal(0), 0])
    with open(path, encoding='utf-8') as ledger:
        for line in ledger:
            _, _, _, user, amount, event_time = line.rstrip('\n').split('\t')
            moment = datetime.datetime.fromisoformat(event_time.replace('Z', '+00:00'))
            seconds = int(moment.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS
            entry = result[(user, seconds)]
            entry[0] += decimal.Decimal(amount)
            entry[1] += 1
    return {key: tuple(value) for key, value in result.items()}


def read_view(cluster, name):
    rows = cluster.execute('SELECT user_id, extract(epoch FROM window_start)::bigint, '
                           f'revenue, orders FROM {name}')
    result = {}
    for line in rows.splitlines():
        user, start, revenue, orders = line.split('\t')
        key = (user, int(start))
        if key in result:
            raise DemoError(f'the view has two rows for {key}')
        result[key] = (decimal.Decimal(revenue), int(orders))
    return result


def read_copy(consumer, name):
    result = {}
    with consumer.lock:
        rows = list(consumer.copy[f'public.{name}'].values())
    for row in rows:
        start = datetime.datetime.fromisoformat(row['window_start'].replace('Z', '+00:00'))
        result[(row['user_id'], int(start.timestamp()))] = (decimal.Decimal(row['revenue']),
                                                            int(row['orders']))
    return result


def total(result):
    return (sum(orders for _, orders in result.values()),
            sum((revenue for revenue, _ in result.values()), decimal.Decimal(0)))


def wait_without_error(condition, seconds=WAIT_TIMEOUT):
    """Waits for a condition, without an error: the comparison that follows shows a failure."""
    try:
        wait_for('', condition, seconds)
    except DemoError:
        pass


def compare(name, got, want):
    """Returns whether both results are equal, and prints the first differences if not."""
    if got == want:
        return True
    say(style('1;31', f'      NOT EQUAL: {name}'))
    different = [key for key in sorted(set(got) | set(want)) if got.get(key) != want.get(key)]
    for key in different[:10]:
        say(f'        {key}: {got.get(key)} instead of {want.get(key)}')
    say(f'        {len(different)} rows differ')
    return False


#
# Demonstration
#

class Demo:
    def __init__(self, options):
        self.tree = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.cluster = Cluster(options.bindir, options.scratch)
        self.broker = Broker(self.tree, options.scratch, options.broker, options.brokers)
        self.consumer = Consumer(self.cluster)
        self.ledger = os.path.join(options.scratch, 'ledger')
        self.producer = None
        self.start_time = time.monotonic()

    def execute(self, statement):
        show(statement)
        self.cluster.execute(statement)

    def check_helpers(self):
        if self.producer and self.producer.poll() is not None:
            raise DemoError(f'the producer has exited: {self.producer.stderr.read()}')
        if self.consumer.process and self.consumer.process.poll() is not None:
            raise DemoError('pg_recvlogical has exited: ' + self.consumer.process.stderr.read())
        if self.consumer.problem:
            raise DemoError(f'the CDC consumer has failed: {self.consumer.problem}')

    def run(self):
        say(style('1', 'pg_eddy: a pipeline from a Kafka topic through a continuous view to a CDC consumer'))
        self.start_server()
        self.start_broker()
        self.define()
        self.watch_view()
        self.watch_changes()
        self.watch_windows()
        self.kill_worker()
        self.stop_server()
        return self.settle()

    def start_server(self):
        step(1, 'Starting a private PostgreSQL server')
        self.cluster.create()
        self.cluster.start()
        version = self.cluster.execute('SHOW server_version')
        done(f'PostgreSQL {version} with pg_eddy preloaded, data directory {self.cluster.data}')

    def start_broker(self):
        step(2, 'Starting a Kafka broker' if not self.broker.address else 'Using a Kafka broker')
        self.broker.start()
        name = {'mock': "librdkafka's mock cluster", 'kafka': 'Apache Kafka (KRaft)',
                'own': 'your broker'}[self.broker.kind]
        done(f'{name} at {self.broker.address}, topic "{self.broker.topic}" with '
             f'{PARTITIONS} partitions')

    def define(self):
        step(3, 'Creating the pipeline with SQL')
        self.execute('CREATE EXTENSION pg_eddy;')
        self.execute('CREATE SERVER kafka FOREIGN DATA WRAPPER eddy_kafka\n'
                     f'    OPTIONS ("bootstrap.servers" \'{self.broker.address}\');\n'
                     'CREATE USER MAPPING FOR CURRENT_USER SERVER kafka;')
        self.execute(TABLE)
        self.execute(STREAM)
        self.execute(VIEW)
        self.execute(FINAL)
        self.execute(TOTAL)
        self.execute(SLOT)
        self.execute("SELECT eddy.attach_kafka('orders', server => 'kafka', "
                     f"topic => '{self.broker.topic}');")

    def snapshot(self):
        orders, revenue = (self.cluster.execute('SELECT orders, revenue FROM total') or
                           '0\t0').split('\t')
        return ([style('1', f'SELECT * FROM total;  -- {orders} orders, revenue {revenue or 0}'),
                 style('1', SNAPSHOT + ';')] + self.cluster.table(SNAPSHOT))

    def watch_view(self):
        step(4, f'Querying the view while {RATE} orders per second arrive')
        self.producer = self.broker.produce(self.ledger)
        wait_for('the first orders are in the view',
                 lambda: self.cluster.number('SELECT count(*) FROM revenue_10s'))
        panel = Panel()
        for _ in range(14 if terminal else 4):
            self.check_helpers()
            panel.draw(self.snapshot())
            time.sleep(0.5 if terminal else 1.7)

    def watch_changes(self):
        step(5, 'Receiving changes of the view with a CDC consumer')
        show('pg_recvlogical --slot dashboard --start -f -')
        self.consumer.start()
        wait_for('changes are received', lambda: len(self.consumer.lines) >= 8)
        self.check_helpers()
        with self.consumer.lock:
            lines = list(self.consumer.lines)[-4:]
        for line in lines:
            say('      ' + line)
        time.sleep(1)
        done(f'{self.consumer.received} changes received so far')

    def watch_windows(self):
        step(6, 'Watching windows become final, and sending an order that is late')
        panel = Panel()
        deadline = time.monotonic() + WAIT_TIMEOUT
        while not self.cluster.number('SELECT count(*) FROM final_10s'):
            if time.monotonic() > deadline:
                raise DemoError('no window has become final')
            self.draw_windows(panel)
        self.draw_windows(panel)
        first = self.cluster.execute('SELECT min(window_start) FROM final_10s')
        order = json.dumps({'order_id': 0, 'user_id': 'late', 'amount': float(LATE_ORDER),
                            'event_time': first})
        show(f'kcat -P -t {self.broker.topic} <<< \'{order}\'')
        self.broker.tool('produce', '-f', 'v', text=order + '\n')
        wait_for('the late order is stored',
                 lambda: self.cluster.number('SELECT count(*) FROM eddy.late_rows'))
        show(LATE + ';')
        for line in self.cluster.table(LATE):
            say('      ' + line)
        done('the final result of its window stays as it is; views without windows count the order')

    def draw_windows(self, panel):
        self.check_helpers()
        watermark = self.cluster.execute("SELECT eddy.watermark('orders')::time(0)")
        panel.draw([style('1', f"SELECT eddy.watermark('orders');  -- {watermark}"),
                    *(style('1', line) for line in (WINDOWS + ';').splitlines())] +
                   self.cluster.table(WINDOWS))
        time.sleep(0.5 if terminal else 2)

    def follow(self, seconds):
        """Shows the lag of the view for some seconds."""
        panel = Panel()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_helpers()
            consumed = self.cluster.number(CONSUMED)
            produced = self.broker.end_offset()
            worker = self.cluster.number(WORKER)
            if consumed is not None:
                panel.draw([f'topic {produced:7d} orders   view {consumed:7d} orders   '
                            f'lag {max(0, produced - consumed):6d}   '
                            f'worker PID {worker if worker else "-"}'])
            time.sleep(0.25 if terminal else 1)

    def kill_worker(self):
        step(7, 'Terminating the worker')
        worker = wait_for('a worker runs', lambda: self.cluster.number(WORKER))
        self.follow(1)
        show(f'kill -TERM {worker}')
        os.kill(worker, signal.SIGTERM)
        since = time.monotonic()
        successor = wait_for('another worker has started',
                             lambda: (lambda pid: pid if pid != worker else None)(
                                 self.cluster.number(WORKER)))
        done(f'worker {successor} started after {time.monotonic() - since:.1f} s')
        self.follow(3)

    def stop_server(self):
        step(8, 'Simulating a crash of the server')
        before = self.cluster.number(CONSUMED)
        show('pg_ctl stop -m immediate')
        self.cluster.stop('immediate')
        self.consumer.stop()
        self.wait_orders(2)
        show('pg_ctl start')
        since = time.monotonic()
        self.cluster.start()
        self.consumer.start()
        wait_for('the view is updated', lambda: (self.cluster.number(CONSUMED) or 0) > before)
        done(f'resumed after {time.monotonic() - since:.1f} s, at the offset of the last committed '
             'batch')
        self.follow(3)

    def wait_orders(self, seconds):
        """Lets orders accumulate in the topic while no worker runs."""
        before = self.broker.end_offset()
        time.sleep(seconds)
        self.check_helpers()
        done(f'the server is down; {self.broker.end_offset() - before} more orders are in the topic')

    def settle(self):
        step(9, 'Stopping the producer and checking consistency')
        self.producer.send_signal(signal.SIGTERM)
        if self.producer.wait(WAIT_TIMEOUT) != 0:
            raise DemoError(f'the producer failed: {self.producer.stderr.read()}')
        self.producer = None
        want = read_ledger(self.ledger)
        orders, revenue = total(want)

        wait_without_error(lambda: (self.cluster.number(CONSUMED) or 0) >= self.broker.end_offset())
        show("SELECT eddy.advance_watermark('orders', now() + '1 minute');")
        self.cluster.execute("SELECT eddy.advance_watermark('orders', now() + '1 minute')")
        wait_without_error(lambda: self.consumer.problem or
                     total(read_copy(self.consumer, 'final_10s'))[0] >= orders, 15)
        self.check_helpers()

        say(f'      ledger of the producer     {orders:8d} orders   revenue {revenue}')
        view = read_view(self.cluster, 'revenue_10s')
        self.say_total('continuous view', view)
        final = read_view(self.cluster, 'final_10s')
        self.say_total('final rows', final)
        copy = read_copy(self.consumer, 'revenue_10s')
        self.say_total('copy of the CDC consumer', copy)
        final_copy = read_copy(self.consumer, 'final_10s')
        self.say_total('its copy of final rows', final_copy)
        say(f'      (the consumer received {self.consumer.received} changes, and discarded '
            f'{self.consumer.repeated} of them that were sent twice)')
        scalar = self.cluster.execute('SELECT orders, revenue FROM total').split('\t')
        rejected = self.cluster.number('SELECT count(*) FROM eddy.dead_letters')

        equal = compare('the view and the ledger', view, want)
        equal &= compare('the final rows and the ledger', final, want)
        equal &= compare("the CDC consumer's copy and the ledger", copy, want)
        equal &= compare("the CDC consumer's copy of the final rows and the ledger", final_copy, want)
        equal &= compare('records of final rows, one for each',
                         {'records': self.consumer.applied['public.final_10s']},
                         {'records': len(want)})
        equal &= compare('the view "total" and the ledger with the late order',
                         {'total': (int(scalar[0]), decimal.Decimal(scalar[1]))},
                         {'total': (orders + 1, revenue + LATE_ORDER)})
        equal &= compare('dead letters', {'rows': rejected}, {'rows': 0})
        say()
        if equal:
            say(style('1;32', f'EQUAL: all {len(want)} rows of the view match the ledger of the '
                              'producer, after two crashes.'))
            say(style('1;32', f'{orders} orders were produced and {orders} were counted: '
                              'none was lost, none was counted twice.'))
            say(style('1;32', f'Each of the {len(want)} final rows was sent once, and the order that '
                              'was late was reported.'))
        else:
            say(style('1;31', 'NOT EQUAL: the view does not match the ledger of the producer.'))
        say(f'Elapsed time: {time.monotonic() - self.start_time:.0f} s')
        return equal

    def say_total(self, name, result):
        orders, revenue = total(result)
        say(f'      {name:26s} {orders:8d} orders   revenue {revenue}')

    def clean(self):
        """Stops all started processes, in an order that avoids errors."""
        if self.producer:
            end_process(self.producer, signal.SIGKILL)
        for stop in (self.consumer.stop, lambda: self.cluster.stop('immediate'), self.broker.stop):
            try:
                stop()
            except (DemoError, OSError) as error:
                say(f'error during cleanup: {error}')


def end_by_signal(number, frame):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bindir', required=True)
    parser.add_argument('--scratch', required=True)
    parser.add_argument('--broker', choices=('mock', 'kafka'), default='mock')
    parser.add_argument('--brokers', default='')
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, end_by_signal)
    signal.signal(signal.SIGHUP, end_by_signal)
    # Ctrl-C is ignored if the caller's shell runs this program in the background
    signal.signal(signal.SIGINT, end_by_signal)
    demo = Demo(options)
    try:
        return 0 if demo.run() else 1
    except DemoError as error:
        say()
        say(style('1;31', f'The demonstration failed: {error}'))
        say('Last lines of the server log:')
        say(demo.cluster.log_tail())
        return 1
    except KeyboardInterrupt:
        say()
        say('Interrupted; cleaning up.')
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        demo.clean()


if __name__ == '__main__':
    sys.exit(main())

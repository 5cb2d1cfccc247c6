"""The hand-written equivalent: a tuned Kafka consumer without pg_eddy.

confluent-kafka's batch consume -> orjson -> COPY into an UNLOGGED table, whose
PL/pgSQL statement trigger merges the rows into the result (handwritten.sql), with
the offsets in the same transaction. Reads the topic from the stored offsets to its end
as of the start, then prints its measurements as one line of JSON.

    handwritten.py DSN BROKERS TOPIC BATCH
"""

import io
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter

import orjson
import psycopg2
from confluent_kafka import Consumer, TopicPartition

COLUMNS = ("auction", "bidder", "price", "channel", "url", "date_time", "extra")


def cpu_seconds(pid):
    """User and system time of a process with all its threads."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid="self"):
    """Largest resident memory of a process, in kB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def copy_lines(messages):
    """The rows of the messages as text for COPY."""
    columns = itemgetter(*COLUMNS)
    loads = orjson.loads
    text = "\n".join(
        ["%d\t%d\t%d\t%s\t%s\t%s\t%s" % columns(loads(message.value())) for message in messages]
    )
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return text.encode()


def main():
    dsn, brokers, topic, batch = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    connection = psycopg2.connect(dsn)
    cursor = connection.cursor()
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "handwritten",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "check.crcs": True,
            "queued.min.messages": 1000000,
            "queued.max.messages.kbytes": 512 * 1024,
            "fetch.message.max.bytes": 4 * 1024 * 1024,
        }
    )

    cursor.execute("SELECT partition, next_offset FROM consumer_offset WHERE topic = %s", (topic,))
    offsets = dict(cursor.fetchall())
    ends = {}
    for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        ends[partition] = high
        if partition not in offsets:
            offsets[partition] = low
            cursor.execute(
                "INSERT INTO consumer_offset VALUES (%s, %s, %s)", (topic, partition, low)
            )
    connection.commit()

    def store(text, batch_offsets):
        """One transaction: the rows, the effects of the trigger, the offsets."""
        cursor.copy_expert(copy, io.BytesIO(text), size=1 << 20)
        for partition, offset in batch_offsets.items():
            cursor.execute(
                "UPDATE consumer_offset SET next_offset = %s WHERE topic = %s AND partition = %s",
                (offset, topic, partition),
            )
        connection.commit()

    copy = f"COPY bid ({', '.join(COLUMNS)}) FROM STDIN"
    backend = connection.info.backend_pid
    cpu_python, cpu_backend = cpu_seconds(os.getpid()), cpu_seconds(backend)
    start = time.monotonic()
    first = None
    rows = 0
    consumer.assign([TopicPartition(topic, p, offset) for p, offset in offsets.items()])

    # one batch is parsed while the previous one is stored
    with ThreadPoolExecutor(1) as executor:
        storing = None
        while any(offsets[p] < end for p, end in ends.items()):
            messages = consumer.consume(batch, timeout=0.05)
            if not messages:
                continue
            batch_offsets = {}
            for message in messages:
                if message.error():
                    raise RuntimeError(message.error())
                batch_offsets[message.partition()] = message.offset() + 1
            text = copy_lines(messages)
            if storing is not None:
                storing.result()
                if first is None:
                    first = (time.monotonic(), rows)
            storing = executor.submit(store, text, batch_offsets)
            offsets.update(batch_offsets)
            rows += len(messages)
        storing.result()
    end = time.monotonic()

    print(
        json.dumps(
            {
                "rows": rows,
                "seconds": end - start,
                "steady": (rows - first[1]) / (end - first[0]) if end > first[0] else None,
                "cpu_client": cpu_seconds(os.getpid()) - cpu_python,
                "cpu_backend": cpu_seconds(backend) - cpu_backend,
                "memory": peak_memory(),
            }
        )
    )
    consumer.close()


if __name__ == "__main__":
    main()

"""A client that publishes numbers one by one to a cluster, and reads them back; an error ends it."""

import contextlib
import json
import os
import threading
import time

import pulsar
from region import until

TOPIC = "persistent://public/default/steady"


@contextlib.contextmanager
def measured(cluster, folder):
    """What is measured of a cluster: said when it ends, however it ends, and kept when it ends well."""
    told = {}
    try:
        yield told
    finally:
        print(json.dumps(told), flush=True)
        cluster.stop()
    with open(os.path.join(folder, "history.json"), "w") as file:
        json.dump(told, file)


class Writer(threading.Thread):
    """Publishes numbers one by one; notes when each receipt came."""

    def __init__(self, cluster, pause_s=0.0):
        super().__init__(daemon=True)
        self.pause_s = pause_s
        cluster.http("POST", "/admin/v2/namespaces/public/default/deduplication", True)
        self.client = cluster.client(operation_timeout_seconds=30)
        self.producer = self.client.create_producer(TOPIC, send_timeout_millis=30000, batching_enabled=False)
        self.sent, self.times, self.over = [], [], False

    def run(self):
        number = 0
        while not self.over:
            self.producer.send(str(number).encode())
            self.sent.append(number)
            self.times.append(time.monotonic())
            number += 1
            if self.pause_s:
                time.sleep(self.pause_s)

    def goes_on(self, when, count=50, seconds=30):
        before = len(self.sent)
        until(f"publishing {when}", lambda: len(self.sent) > before + count, seconds)

    def longest_pause_since(self, began):
        """Seconds of the longest time without a receipt, the one that lasts now included."""
        times = [began] + [at for at in self.times if at > began] + [time.monotonic()]
        return round(max(b - a for a, b in zip(times, times[1:])), 3)

    def stop(self):
        self.over = True
        self.join(40)
        assert not self.is_alive(), "a publish has no answer for 40 s"
        self.client.close()


def read_all(cluster, count, topic=TOPIC, of=int):
    """The first `count` messages of a topic, each as `of` reads it."""
    client = cluster.client(operation_timeout_seconds=30)
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    got = [of(reader.read_next(30000).data()) for _ in range(count)]
    client.close()
    return got

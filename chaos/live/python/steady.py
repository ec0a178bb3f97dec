"""A client that publishes numbers one by one to a cluster, and reads them back."""

import threading
import time

import pulsar
from region import until

TOPIC = "persistent://public/default/steady"


class Writer(threading.Thread):
    """Publishes numbers one by one; notes when each receipt came."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
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

    def goes_on(self, when, count=50):
        before = len(self.sent)
        until(f"publishing {when}", lambda: len(self.sent) > before + count)

    def longest_pause_since(self, began):
        times = [began] + [at for at in self.times if at > began]
        return max((b - a for a, b in zip(times, times[1:])), default=float("inf"))

    def stop(self):
        self.over = True
        self.join(30)
        self.client.close()


def read_all(cluster, count):
    client = cluster.client(operation_timeout_seconds=30)
    reader = client.create_reader(TOPIC, pulsar.MessageId.earliest)
    got = [int(reader.read_next(20000).data()) for _ in range(count)]
    client.close()
    return got

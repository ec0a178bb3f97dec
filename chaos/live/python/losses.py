"""A region of three nodes loses the owner of a topic again and again, each time soon after the one before is back."""

import json
import os
import sys
import threading
import time

import pulsar
from cluster import Cluster
from region import until

TOPIC = "persistent://public/default/steady"
# Promise P5 says 2 s on machines of their own; here three nodes and the clients share two cores.
PAUSE_MAX_S = 4
LOSSES = 4


class Writer(threading.Thread):
    """Publishes numbers one by one; notes when each receipt came."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
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

    def longest_pause(self, began):
        times = [began] + [at for at in self.times if at > began]
        return round(max((b - a for a, b in zip(times, times[1:])), default=float("inf")), 3)


def main(folder):
    cluster, pauses = Cluster(folder), []
    try:
        cluster.http("POST", "/admin/v2/namespaces/public/default/deduplication", True)
        writer = Writer(cluster)
        writer.start()
        until("the first messages", lambda: len(writer.sent) > 50)
        for _ in range(LOSSES):
            node, began, before = cluster.owner(TOPIC), time.monotonic(), len(writer.sent)
            node.kill()
            until("publishing after the owner was killed", lambda: len(writer.sent) > before + 50, 60)
            pauses.append(writer.longest_pause(began))
            node.start()
            # Soon enough that nothing could be copied in between.
            before = len(writer.sent)
            until("some messages", lambda: len(writer.sent) > before + 20)
        writer.over = True
        writer.join(30)
        writer.client.close()
        client = cluster.client(operation_timeout_seconds=30)
        reader = client.create_reader(TOPIC, pulsar.MessageId.earliest)
        got = [int(reader.read_next(20000).data()) for _ in range(len(writer.sent))]
        client.close()
        assert got == writer.sent, "a message with a receipt is missing, doubled or out of order"
        assert max(pauses) <= PAUSE_MAX_S, f"publishing paused for {pauses} s"
    finally:
        print(json.dumps({"pauses_s": pauses}), flush=True)
        cluster.stop()
    with open(os.path.join(folder, "history.json"), "w") as file:
        json.dump({"pauses_s": pauses, "sent": len(writer.sent)}, file)


main(sys.argv[1])

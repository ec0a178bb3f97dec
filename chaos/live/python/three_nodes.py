"""A region of three nodes loses any one of them, and then all at once, and nothing acknowledged; publishing goes on in between."""

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
PAUSE_MAX_S = 5


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

    def longest_pause_since(self, began):
        times = [began] + [at for at in self.times if at > began]
        return max((b - a for a, b in zip(times, times[1:])), default=float("inf"))

    def stop(self):
        self.over = True
        self.join(30)
        self.client.close()


def chosen(cluster, what):
    owner, leader = cluster.owner(TOPIC), cluster.leader()
    other = next(node for node in cluster.nodes if node not in (owner, leader))
    return {"owner": owner, "leader": leader, "other": other}[what]


def read_all(cluster, count):
    client = cluster.client(operation_timeout_seconds=30)
    reader = client.create_reader(TOPIC, pulsar.MessageId.earliest)
    got = [int(reader.read_next(20000).data()) for _ in range(count)]
    client.close()
    return got


def lose(what, folder):
    cluster = Cluster(folder)
    try:
        cluster.http("POST", "/admin/v2/namespaces/public/default/deduplication", True)
        writer = Writer(cluster)
        writer.start()
        until("the first messages", lambda: len(writer.sent) > 50)
        node = chosen(cluster, what)
        began, before = time.monotonic(), len(writer.sent)
        node.kill()
        until(f"publishing after the {what} was killed", lambda: len(writer.sent) > before + 50)
        pause = round(writer.longest_pause_since(began), 3)
        node.start()
        writer.stop()
        for one in cluster.nodes:
            one.kill()
        began = time.monotonic()
        for one in reversed(cluster.nodes):
            one.launch()
        for one in cluster.nodes:
            one.ready()
        serving = round(time.monotonic() - began, 3)
        got = read_all(cluster, len(writer.sent))
        told = {"killed": what, "pause_s": pause, "all_back_s": serving, "sent": len(writer.sent)}
        print(json.dumps(told), flush=True)
        assert got == writer.sent, "a message with a receipt is missing, doubled or out of order"
        assert pause <= PAUSE_MAX_S, f"publishing paused for {pause} s after the {what} was killed"
        return told
    finally:
        cluster.stop()


history = []
for what in ("owner", "leader", "other"):
    place = os.path.join(sys.argv[1], what)
    os.makedirs(place)
    history.append(lose(what, place))
with open(os.path.join(sys.argv[1], "history.json"), "w") as file:
    json.dump(history, file)

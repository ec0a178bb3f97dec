"""A region of three nodes loses any one of them, and nothing acknowledged; publishing goes on within seconds."""

import json
import os
import sys
import threading
import time

import pulsar
from cluster import Cluster
from region import QUIET, until

folder = sys.argv[1]
cluster = Cluster(folder)
topic = "persistent://public/default/steady"


class Writer(threading.Thread):
    """Publishes numbers one by one; notes when each receipt came."""

    def __init__(self):
        super().__init__(daemon=True)
        self.client = cluster.client(operation_timeout_seconds=30)
        self.producer = self.client.create_producer(topic, send_timeout_millis=30000, batching_enabled=False)
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


cluster.http("POST", "/admin/v2/namespaces/public/default/deduplication", True)
writer = Writer()
writer.start()
until("the first messages", lambda: len(writer.sent) > 50)
history = []
for what in ("owner", "leader", "other"):
    owner, leader = cluster.owner(topic), cluster.leader()
    chosen = {"owner": owner, "leader": leader,
              "other": next(node for node in cluster.nodes if node not in (owner, leader))}[what]
    began, before = time.monotonic(), len(writer.sent)
    chosen.kill()
    until(f"publishing after the {what} was killed", lambda: len(writer.sent) > before + 50)
    pause = writer.longest_pause_since(began)
    history.append({"killed": what, "node": chosen.index, "pause_s": round(pause, 3)})
    print(json.dumps(history[-1]), flush=True)
    chosen.start()
    until("the node is back", lambda: len(cluster.http("GET", f"/admin/v2/brokers/{cluster.name}")) == 3)
writer.over = True
writer.join(30)

reader = cluster.client().create_reader(topic, pulsar.MessageId.earliest)
got = []
while len(got) < len(writer.sent):
    got.append(int(reader.read_next(10000).data()))
with open(os.path.join(folder, "history.json"), "w") as file:
    json.dump({"kills": history, "sent": len(writer.sent), "read": len(got)}, file)
assert got[:len(writer.sent)] == writer.sent, "a message with a receipt is missing, doubled or out of order"
slow = [kill for kill in history if kill["pause_s"] > 5]
assert not slow, f"publishing paused for more than 5 s: {slow}"
cluster.stop()

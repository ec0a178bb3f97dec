"""A region of three nodes loses any one of them, and then all at once, and nothing acknowledged; publishing goes on in between."""

import json
import os
import sys
import time

from cluster import Cluster
from steady import TOPIC, Writer, read_all

# Promise P5 says 2 s on machines of their own; here three nodes and the clients share two cores.
PAUSE_MAX_S = 5


def chosen(cluster, what):
    owner, leader = cluster.owner(TOPIC), cluster.leader()
    other = next(node for node in cluster.nodes if node not in (owner, leader))
    return {"owner": owner, "leader": leader, "other": other}[what]


def lose(what, folder):
    cluster = Cluster(folder)
    try:
        writer = Writer(cluster)
        writer.start()
        writer.goes_on("at first")
        node = chosen(cluster, what)
        began = time.monotonic()
        node.kill()
        writer.goes_on(f"after the {what} was killed")
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

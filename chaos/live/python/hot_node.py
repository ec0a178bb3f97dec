"""Two busy topics share a bundle: it is divided, unasked, and two nodes serve the parts. Two share a node, in two bundles: one
moves away. Under the same load everything rests then."""

import json
import os
import sys
import threading
import time

from cluster import Cluster
from region import until
from steady import read_all

# A beat each second, and bundles are divided at a rate that a Python client reaches.
RULES = """load_balancer_interval_seconds = 1
bundle_max_msg_rate = 1500
"""
AT_ONCE, EVERY_S = 20, 0.02
PADDING = b" " * 1000
REST_S = 12


class Stream(threading.Thread):
    """About 1,000 numbers per second to one topic. An error ends it."""

    def __init__(self, client, topic):
        super().__init__(daemon=True)
        self.producer = client.create_producer(topic, send_timeout_millis=30000, block_if_queue_full=True)
        self.sent, self.failed, self.over = 0, [], False

    def run(self):
        due = time.monotonic()
        while not self.over:
            for _ in range(AT_ONCE):
                self.producer.send_async(str(self.sent).encode() + PADDING, self.answered)
                self.sent += 1
            due = max(due + EVERY_S, time.monotonic() - 0.5)
            time.sleep(max(0, due - time.monotonic()))
        self.producer.flush()

    def answered(self, result, _):
        if result.name != "Ok":
            self.failed.append(result)


def bundle_of(cluster, topic):
    return cluster.answered("GET", "/lookup/v2/topic/" + topic.replace("://", "/") + "/bundle")


def pair(cluster, namespace, same):
    """Two topics of which `same` says the same."""
    known = {}
    for number in range(200):
        topic = f"persistent://{namespace}/t{number}"
        other = known.setdefault(same(topic), topic)
        if other != topic:
            return [other, topic]
    sys.exit("no two topics are alike")


def steady_load(cluster, topics, told):
    """Publishes to both until they are served by two nodes, and on while nothing more may move."""
    client = cluster.client(operation_timeout_seconds=30)
    streams = [Stream(client, topic) for topic in topics]
    bundles = lambda: [bundle_of(cluster, topic) for topic in topics]
    owners = lambda: [cluster.owner(topic).index for topic in topics]
    assert len(set(owners())) == 1
    began = time.monotonic()
    for stream in streams:
        stream.start()
    until("their bundles are two", lambda: len(set(bundles())) == 2, 60)
    told["two_bundles_s"] = round(time.monotonic() - began, 3)
    until("one is served by another node", lambda: len(set(owners())) == 2, 60)
    told["two_nodes_s"] = round(time.monotonic() - began, 3)
    rest, over = (bundles(), owners()), time.monotonic() + REST_S
    while time.monotonic() < over:
        assert (bundles(), owners()) == rest, f"from {rest} to {bundles(), owners()} although the load is the same"
        time.sleep(0.5)
    for stream in streams:
        stream.over = True
    for stream in streams:
        stream.join(40)
        assert not stream.is_alive() and not stream.failed, stream.failed[:3]
    client.close()
    told["sent"] = [stream.sent for stream in streams]
    print(json.dumps(told), flush=True)
    for stream, topic in zip(streams, topics):
        got = read_all(cluster, stream.sent, topic)
        assert got == list(range(stream.sent)), f"{topic}: a message is missing, doubled or out of order"


def main(folder):
    cluster = Cluster(folder, extra=RULES)
    try:
        for namespace in ("public/split", "public/shed"):
            cluster.http("PUT", f"/admin/v2/namespaces/{namespace}", {"bundles": {"numBundles": 8}})
            cluster.http("POST", f"/admin/v2/namespaces/{namespace}/deduplication", True)
        steady_load(cluster, pair(cluster, "public/split", lambda topic: bundle_of(cluster, topic)), {"one": "bundle"})
        # Of different bundles: one topic of each comes into question.
        firsts = {}
        one_each = lambda topic: firsts.setdefault(bundle_of(cluster, topic), topic) == topic
        owner = lambda topic: cluster.owner(topic).index if one_each(topic) else topic
        steady_load(cluster, pair(cluster, "public/shed", owner), {"one": "node"})
    finally:
        cluster.stop()


main(sys.argv[1])
os._exit(0)

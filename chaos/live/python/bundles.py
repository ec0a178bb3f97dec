"""Bundles of a region of three nodes are split while 40 topics are published to, and a node that was away gets bundles
again, but none of a namespace that is excluded."""

import json
import os
import sys
import threading
import time

from cluster import Cluster
from region import until
from steady import read_all

NAMESPACE = "public/default"
TOPICS = [f"persistent://{NAMESPACE}/spread-{index}" for index in range(40)]
WRITERS = 8
# Three nodes and the clients share two cores.
PAUSE_MAX_S = 2
BALANCED = """load_balancer_interval_seconds = 1
"""


class Writer(threading.Thread):
    """Publishes numbers to some topics in turn; notes when each receipt came. An error ends it."""

    def __init__(self, client, topics):
        super().__init__(daemon=True)
        options = {"send_timeout_millis": 30000, "batching_enabled": False}
        self.producers = {topic: client.create_producer(topic, **options) for topic in topics}
        self.sent = {topic: 0 for topic in topics}
        self.times = {topic: [] for topic in topics}
        self.over = False

    def run(self):
        while not self.over:
            for topic, producer in self.producers.items():
                producer.send(str(self.sent[topic]).encode())
                self.sent[topic] += 1
                self.times[topic].append(time.monotonic())
            time.sleep(0.02)

    def longest_pause_since(self, began):
        pause = lambda times: max((b - a for a, b in zip(times, times[1:]) if b > began), default=0)
        return max(pause(times) for times in self.times.values())


def bundle_of(cluster, topic):
    return cluster.http("GET", "/lookup/v2/topic/" + topic.replace("://", "/") + "/bundle")


def bundles(cluster):
    return cluster.http("GET", f"/admin/v2/namespaces/{NAMESPACE}/bundles")["numBundles"]


def served(cluster):
    """How many bundles each node serves, in the order of the cluster's nodes."""
    nodes = cluster.answered("GET", "/admin/v2/cluster/status")["nodes"]
    by_url = {cluster.by_url(node["httpUrl"]).index: node["bundles"] for node in nodes if node["httpUrl"]}
    return [by_url.get(node.index, 0) for node in cluster.nodes]


def split(cluster, writers, pauses):
    """The bundle of the first topic is divided by its owner, and the parts are served apart."""
    before, bundle = bundles(cluster), bundle_of(cluster, TOPICS[0])
    began = time.monotonic()
    how = "unload=true&splitAlgorithmName=topic_count_equally_divide"
    cluster.owner(TOPICS[0]).http("PUT", f"/admin/v2/namespaces/{NAMESPACE}/{bundle}/split?{how}")
    time.sleep(2)
    pauses.append(round(max(writer.longest_pause_since(began) for writer in writers), 3))
    until("everybody knows the parts", lambda: bundles(cluster) == before + 1)
    parts = {bundle_of(cluster, topic) for topic in TOPICS}
    assert bundle not in parts, f"topics are still in {bundle}"
    lower, upper = bundle.split("_")
    inside = [part for part in parts if lower <= part.split("_")[0] and part.split("_")[1] <= upper]
    assert len(inside) == 2, f"topics are on both parts of {bundle}: {inside}"


def main(folder):
    cluster, pauses = Cluster(folder, extra=BALANCED), []
    try:
        cluster.http("POST", f"/admin/v2/namespaces/{NAMESPACE}/deduplication", True)
        client = cluster.client(operation_timeout_seconds=30)
        writers = [Writer(client, TOPICS[at::WRITERS]) for at in range(WRITERS)]
        for writer in writers:
            writer.start()
        time.sleep(2)
        for _ in range(3):
            split(cluster, writers, pauses)
        away = next(node for node in cluster.nodes if node is not cluster.leader())
        away.process.terminate()
        away.process.wait(timeout=15)
        assert served(cluster)[away.index] == 0
        # A bundle that nobody serves yet may begin anywhere, on the node that comes back too.
        until("others serve all bundles", lambda: sum(served(cluster)) == bundles(cluster))
        excluded = "/admin/v2/brokers/configuration/loadBalancerSheddingExcludedNamespaces"
        cluster.http("POST", f"{excluded}/{NAMESPACE.replace('/', '%2F')}")
        away.start()
        time.sleep(8)
        assert served(cluster)[away.index] == 0, "bundles of an excluded namespace moved"
        cluster.http("DELETE", excluded)
        began = time.monotonic()
        until("the node that was away serves again", lambda: served(cluster)[away.index] > 0, 60)
        back = round(time.monotonic() - began, 3)
        until("bundles are even", lambda: max(served(cluster)) - min(served(cluster)) <= 1, 60)
        even = served(cluster)
        time.sleep(5)
        assert served(cluster) == even, "bundles move although nothing changed"
        for writer in writers:
            writer.over = True
        for writer in writers:
            writer.join(40)
            assert not writer.is_alive(), "a publish has no answer for 40 s"
        client.close()
        told = {"split_pauses_s": pauses, "back_s": back, "served": even}
        told["sent"] = sum(sum(writer.sent.values()) for writer in writers)
        print(json.dumps(told), flush=True)
        for writer in writers:
            for topic, count in writer.sent.items():
                got = read_all(cluster, count, topic)
                assert got == list(range(count)), f"{topic}: a message is missing, doubled or out of order"
        assert max(pauses) <= PAUSE_MAX_S, f"publishing paused for {pauses} s"
    finally:
        cluster.stop()
    with open(os.path.join(folder, "history.json"), "w") as file:
        json.dump(told, file)


main(sys.argv[1])

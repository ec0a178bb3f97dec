"""A disk without a free byte keeps a node from writing the region's metadata, not the region: first the leader's fills up, then that
of another node. Topics are created, new ones of the full node's bundles too, and publishing goes on, nobody's process ends, and
with space the node has everything again."""

import concurrent.futures
import os
import sys
import time

import disks
import pulsar
from cluster import Cluster
from region import until
from steady import Writer, measured, read_all

ROOM = 1024 * disks.MIB
# Created at a time; those of the full node's bundles are not counted.
TOPICS = 1000
# So many after the log could not grow: more than it still has room for.
TOPICS_MORE = 1500
# It takes three looks of the load balancer until bundles are divided.
TRIED_MIN, TRIED_MAX = 6000, 30_000
PATH = "/admin/v2/persistent/public/default"
PAUSE_MAX_S = 5


def create(cluster, full, name, numbers):
    """Creates topics at the nodes that have space, and answers how many: the full node cannot show what it has created, and its
    REST answers 5 s late."""
    others = [node for node in cluster.nodes if node is not full]

    def put(number):
        answers = {}

        def answered():
            # 307: the other node owns it. 503: its bundle is being split or moves.
            answers.update({node: node.ask("PUT", f"{PATH}/{name}-{number}")[0] for node in others if answers.get(node) != 307})
            assert set(answers.values()) <= {204, 307, 409, 503}, answers
            return 503 not in answers.values()

        until(f"{name}-{number} is created", answered)
        return any(status in (204, 409) for status in answers.values())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sum(pool.map(put, numbers))


def cannot_grow(node):
    with open(os.path.join(node.logs, "server.log")) as log:
        return "cannot grow" in log.read()


def create_until_full(cluster, full, name):
    """How many topics it took until the log of the full node had no room."""
    created, created_before_full = 0, None
    for first in range(0, TRIED_MAX, TOPICS):
        created += create(cluster, full, name, range(first, first + TOPICS))
        if created_before_full is None and cannot_grow(full):
            created_before_full = created
        enough = created_before_full is not None and created >= created_before_full + TOPICS_MORE
        if enough and first + TOPICS >= TRIED_MIN:
            return created
    raise AssertionError(f"{created} topics, and the log of the {name} was never full")


def slowest_new_topic(cluster, name):
    """Seconds until the slowest of new topics in all bundles, those of the full node included, has taken a message and given it back."""
    client, times = cluster.client(operation_timeout_seconds=10), []
    for number in range(24):
        began, topic = time.monotonic(), f"persistent://public/default/{name}-served-{number}"
        client.create_producer(topic).send(b"one")
        assert client.create_reader(topic, pulsar.MessageId.earliest).read_next(10_000).data() == b"one"
        times.append(time.monotonic() - began)
    client.close()
    return round(max(times), 2)


def listed(node, name):
    return sum(f"/{name}-" in topic and "served" not in topic for topic in node.http("GET", PATH))


def fills_up(cluster, disk, node, name, writer, told):
    disks.fill(crumbs := os.path.join(disk.folder, "crumbs"))
    node.unwell = True  # Others are asked who leads.
    began = time.monotonic()
    created = told[f"{name}_created"] = create_until_full(cluster, node, name)
    told[f"{name}_created_in_s"] = round(time.monotonic() - began, 2)
    assert node.running(), f"the {name} without space ended"
    told[f"{name}_slowest_new_topic_s"] = slowest_new_topic(cluster, name)
    writer.goes_on(f"while the disk of the {name} is full")
    leader = cluster.leader()
    assert leader is not node, f"the {name} without space leads"
    os.unlink(crumbs)
    node.unwell = False
    freed = time.monotonic()
    until("the node has all metadata", lambda: listed(node, name) == created, 30)
    told[f"{name}_has_all_after_s"] = round(time.monotonic() - freed, 2)
    assert node.running() and cluster.leader() is leader


def main(folder):
    disks.enter_own_mounts()
    why_not = disks.possible()
    if why_not:
        print(f"NOT RUN: {why_not}")
        return
    place = lambda index, *names: os.path.join(folder, f"east-{index}", *names)
    volumes = [disks.Disk(os.path.join(folder, f"image-{index}"), place(index, "data"), ROOM) for index in range(3)]
    cluster = Cluster(folder)
    with measured(cluster, folder) as told:
        writer = Writer(cluster, pause_s=0.005)
        writer.start()
        began = time.monotonic()
        first = cluster.leader()
        fills_up(cluster, volumes[first.index], first, "leader", writer, told)
        second = next(node for node in cluster.nodes if node is not first and node is not cluster.leader())
        fills_up(cluster, volumes[second.index], second, "follower", writer, told)
        # Now what these two hold is needed.
        cluster.leader().kill()
        writer.goes_on("after the third was killed")
        told["longest_pause_s"] = writer.longest_pause_since(began)
        writer.stop()
        assert read_all(cluster, len(writer.sent)) == writer.sent, "a receipt without its message"
        assert told["longest_pause_s"] <= PAUSE_MAX_S, told


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))

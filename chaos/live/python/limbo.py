"""A node of three loses parts of its log while it is down: it denies nothing, gets its entries back from the others, and says so."""

import glob
import json
import os
import sys
import time
import urllib.request

import pulsar
from cluster import Cluster
from region import until

BULK = "persistent://public/default/bulk"


def metric(cluster, name):
    """The sum over all nodes: only the leader tells what is in limbo."""
    total = 0.0
    for node in cluster.nodes:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.ports['http']}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        total += sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))
    return total


def fill(cluster, count=64, piece=256 << 10):
    """Messages in a ledger that is closed by an unload."""
    client = cluster.client(operation_timeout_seconds=30)
    producer = client.create_producer(BULK, batching_enabled=False, block_if_queue_full=True, max_pending_messages=32)
    sent = [number.to_bytes(8, "big") + os.urandom(piece - 8) for number in range(count)]
    failed = []
    for body in sent:
        producer.send_async(body, lambda result, _: result == pulsar.Result.Ok or failed.append(result))
    producer.flush()
    client.close()
    assert not failed, failed
    cluster.owner(BULK).http("PUT", "/admin/v2/" + BULK.replace("://", "/") + "/unload")
    return sent


def read(cluster, count):
    client = cluster.client(operation_timeout_seconds=30)
    reader = client.create_reader(BULK, pulsar.MessageId.earliest)
    got = [reader.read_next(10000).data() for _ in range(count)]
    client.close()
    return got


def flip(file):
    """Single bits of bodies and of whatever stands between them."""
    for at in range(1 << 20, 9 << 20, 1 << 19):
        file.seek(at + 5)
        byte = file.read(1)
        file.seek(at + 5)
        file.write(bytes([byte[0] ^ 16]))


def wipe(file):
    """A stretch that was never written, as after a cut file: records that nobody can name."""
    file.seek(3 << 20)
    file.write(bytes(600 << 10))


def swap(file):
    """Two blocks that stand in each other's place."""
    here, there = 2 << 20, 6 << 20
    file.seek(here)
    first = file.read(300 << 10)
    file.seek(there)
    second = file.read(300 << 10)
    for at, block in ((here, second), (there, first)):
        file.seek(at)
        file.write(block)


def hurt(cluster, node, damage):
    node.kill()
    oldest = sorted(glob.glob(os.path.join(node.folder, "data", "log", "*.log")) or
                    glob.glob(os.path.join(node.folder, "data", "log", "*")), key=os.path.getsize)[-1]
    with open(oldest, "r+b") as file:
        damage(file)
    began = time.monotonic()
    node.start()
    before = metric(cluster, "replication_worker_NUM_ENTRIES_WRITTEN")
    copied = lambda: metric(cluster, "replication_worker_NUM_ENTRIES_WRITTEN") - before
    until("what was lost is copied", lambda: copied() > 0 and metric(cluster, "meridian_ledgers_in_limbo") == 0, 60)
    return {"damage": damage.__name__, "entries": copied(), "whole_after_s": round(time.monotonic() - began, 2)}


def main(folder):
    cluster = Cluster(folder)
    try:
        sent = fill(cluster)
        node = next(node for node in cluster.nodes if node not in (cluster.leader(), cluster.owner(BULK)))
        told = []
        for damage in (flip, wipe, swap):
            told.append(hurt(cluster, node, damage))
            print(json.dumps(told[-1]), flush=True)
            assert read(cluster, len(sent)) == sent, f"{damage.__name__}: something wrong was served"
        with open(os.path.join(folder, "history.json"), "w") as file:
            json.dump(told, file)
    finally:
        cluster.stop()


if __name__ == "__main__":
    main(sys.argv[1])

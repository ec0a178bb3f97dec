"""A region of three nodes loses one for long: its copies are made again on a fourth node, at the rate that was set. Then another
one is lost, and everything acknowledged is still read, and publishing never pauses for long."""

import os
import sys
import time
import urllib.request

import pulsar
from cluster import Cluster, Node, free_ports
from region import until
from steady import Writer, measured, read_all

BULK = "persistent://public/default/bulk"
# Promise P5 says 2 s on machines of their own; here four nodes and the clients share two cores.
PAUSE_MAX_S = 5
RATE = int(os.environ.get("REPAIR_RATE", 8 << 20))
BULK_BYTES = int(os.environ.get("REPAIR_BYTES", 64 << 20))
GRACE_S = 3
PIECE = 256 << 10


def metric(cluster, name):
    """The sum over all nodes that run: only the leader tells what lacks copies."""
    total = 0.0
    for node in cluster.nodes:
        if node.running():
            with urllib.request.urlopen(f"http://127.0.0.1:{node.ports['http']}/metrics", timeout=10) as page:
                lines = page.read().decode().splitlines()
            total += sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))
    return total


def lacking(cluster):
    return metric(cluster, "auditor_NUM_UNDER_REPLICATED_LEDGERS")


def fill(cluster):
    """Publishes the bulk that will have to be copied."""
    client = cluster.client(operation_timeout_seconds=60)
    producer = client.create_producer(BULK, send_timeout_millis=60000, batching_enabled=False,
                                      block_if_queue_full=True, max_pending_messages=64)
    failed, count = [], BULK_BYTES // PIECE
    for number in range(count):
        body = number.to_bytes(8, "big") + os.urandom(PIECE - 8)
        producer.send_async(body, lambda result, _: result == pulsar.Result.Ok or failed.append(result))
    producer.flush()
    client.close()
    assert not failed, failed
    return count


def newcomer(cluster, folder):
    ports = dict(zip(("pulsar", "http", "quic", "peer"), free_ports(4)))
    index = len(cluster.nodes)
    config = cluster.config(index, ports, join=cluster.founders)
    node = Node(folder, cluster.name, index, ports, config, "127.0.0.1")
    cluster.nodes.append(node)
    node.start()
    return node


def main(folder):
    extra = f"lost_bookie_recovery_delay_seconds = {GRACE_S}\nre_replication_bytes_per_second = {RATE}"
    cluster = Cluster(folder, extra=extra)
    with measured(cluster, folder) as told:
        pieces = fill(cluster)
        writer = Writer(cluster, pause_s=0.002)
        writer.start()
        writer.goes_on("at first")
        assert lacking(cluster) == 0

        lost = next(node for node in cluster.nodes if node is not cluster.leader())
        began = time.monotonic()
        lost.kill()
        until("lost copies are counted", lambda: lacking(cluster) > 0, 20)
        told["lacking_after_s"] = round(time.monotonic() - began, 2)
        until("its grace is over", lambda: time.monotonic() > began + GRACE_S)
        writer.goes_on("on two nodes")
        told["first_pause_s"] = writer.longest_pause_since(began)

        began = time.monotonic()
        newcomer(cluster, folder)
        # The end of a ledger that is written lacks copies until it is closed or another node sits down.
        until("copies are made again", lambda: lacking(cluster) == 0, 60 + 3 * BULK_BYTES // RATE)
        took = time.monotonic() - began
        copied = metric(cluster, "replication_worker_NUM_BYTES_WRITTEN")
        told["repaired_bytes"], told["repair_s"] = copied, round(took, 2)
        told["bytes_per_s"], told["rate_limit"] = round(copied / took), RATE
        told["repair_pause_s"] = writer.longest_pause_since(began)
        assert copied >= BULK_BYTES, f"{copied} bytes were copied"
        assert copied / took <= RATE * 1.1, "faster than was allowed"

        # The metadata needs two of its three voters; the copies of before are no longer looked for on this one.
        lost.start()
        second = next(node for node in cluster.nodes[:3] if node not in (lost, cluster.leader()))
        began = time.monotonic()
        second.kill()
        writer.goes_on("after the second loss")
        told["second_pause_s"] = writer.longest_pause_since(began)
        assert read_all(cluster, pieces, BULK, lambda data: int.from_bytes(data[:8], "big")) == list(range(pieces))
        writer.stop()
        assert read_all(cluster, len(writer.sent)) == writer.sent, "a receipt without its message"
        told["sent"] = len(writer.sent)
        for name in ("first_pause_s", "repair_pause_s", "second_pause_s"):
            assert told[name] <= PAUSE_MAX_S, f"{name}: {told[name]}"


if __name__ == "__main__":
    main(sys.argv[1])

"""The disk of one node of three fills up: publishing goes on with the two others, reading and acknowledging too. The full node
starts again while not a byte is free, serves readers, and takes part again, without a restart, when space was freed. That is too
little for all that it missed, so the disk fills up again; when more is freed, it has got everything, and no more than it lacked."""

import os
import sys
import time

import pulsar

import disks
from cluster import Cluster
from members import move, passport
from region import until
from repair import lacking, metric
from steady import TOPIC, Writer, measured, read_all

BULK = "persistent://public/default/bulk"
ROOM, BALLASTS, PIECE, AT_ONCE = 312 * disks.MIB, (200 * disks.MIB, 256 * disks.MIB), 512 << 10, 16
# A log file takes its whole size at once.
LOG_FILE_MIB = 64
PAUSE_MAX_S = 5


def log_files(node):
    return len(os.listdir(os.path.join(node.folder, "data", "log")))


def number(body):
    return int.from_bytes(body[:8], "big")


class Bulk:
    """Large messages, many at a time; all are acknowledged when `send` returns."""

    def __init__(self, cluster):
        self.client, self.count = cluster.client(operation_timeout_seconds=30), 0
        self.producer = self.client.create_producer(BULK, send_timeout_millis=30_000, batching_enabled=False)
        self.failed = []

    def send(self):
        for _ in range(AT_ONCE):
            body = self.count.to_bytes(8, "big") + os.urandom(PIECE - 8)
            self.producer.send_async(body, lambda result, _: result == pulsar.Result.Ok or self.failed.append(result))
            self.count += 1
        self.producer.flush()
        assert not self.failed, self.failed


def main(folder):
    disks.enter_own_mounts()
    why_not = disks.possible()
    if why_not:
        print(f"NOT RUN: {why_not}")
        return
    full = 1
    disk = disks.Disk(os.path.join(folder, "image"), os.path.join(folder, f"east-{full}", "data"), ROOM + sum(BALLASTS))
    ballasts = [os.path.join(disk.folder, f"ballast-{number}") for number in range(len(BALLASTS))]
    for ballast, size in zip(ballasts, BALLASTS):
        with open(ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    cluster = Cluster(folder)
    node = cluster.nodes[full]
    with measured(cluster, folder) as told:
        writer, bulk = Writer(cluster, pause_s=0.002), Bulk(cluster)
        writer.start()
        began = time.monotonic()
        # More than there is room for.
        while bulk.count * PIECE < ROOM:
            bulk.send()
        told["bulk_mib"], told["log_files"] = bulk.count * PIECE >> 20, [log_files(one) for one in cluster.nodes]
        assert log_files(node) < min(log_files(one) for one in cluster.nodes if one is not node), "the small disk did not fill up"
        writer.goes_on("while one disk is full")
        told["pause_s"] = writer.longest_pause_since(began)
        assert node.running(), "the node whose disk is full ended"
        assert read_all(cluster, bulk.count, BULK, number) == list(range(bulk.count))
        # Nor does it end when not even a small file has room: its stamps are written in place.
        disks.fill(crumbs := os.path.join(disk.folder, "crumbs"))
        stamp = lambda: passport(os.path.join(node.folder, "data")).get("stamping", 0)
        before = stamp()
        until("a stamp while not a byte is free", lambda: stamp() > before or not node.running())
        assert node.running(), "the node on a disk without a free byte ended"
        writer.goes_on("while not a byte is free")
        # It starts without a free byte, and serves what it is asked for.
        node.kill()
        disks.fill(more := os.path.join(disk.folder, "more-crumbs"))
        node.start()
        move(cluster, BULK, node)
        assert read_all(cluster, bulk.count, BULK, number) == list(range(bulk.count)), "a full owner serves readers"
        bulk.send()
        writer.goes_on("after the full node was started again")
        for path in (crumbs, more, ballasts[0]):
            os.unlink(path)
        freed = time.monotonic()
        until("the node that has space again takes entries", lambda: bulk.send() or log_files(node) > told["log_files"][full], 60)
        told["takes_part_after_s"] = round(time.monotonic() - freed, 2)
        # Now the two that were never full are not needed both.
        other = next(one for one in cluster.nodes if one is not node and one is not cluster.leader())
        other.kill()
        bulk.send()
        writer.goes_on("after another node was killed")
        told["longest_pause_s"] = writer.longest_pause_since(began)
        other.start()
        writer.stop()
        assert read_all(cluster, bulk.count, BULK, number) == list(range(bulk.count))
        assert read_all(cluster, len(writer.sent)) == writer.sent, "a receipt without its message"
        assert told["longest_pause_s"] <= PAUSE_MAX_S, told
        bulk.client.close()
        gets_all_back(cluster, node, bulk.count, ballasts[1], told)


def gets_all_back(cluster, node, count, ballast, told):
    """The ledgers are closed, so that what lacks can be copied: as much as there is room for, and then all of it."""
    failed = metric(cluster, "meridian_failed_repairs_total")
    for topic in (BULK, TOPIC):
        cluster.owner(topic).http("PUT", "/admin/v2/" + topic.replace("://", "/") + "/unload")
    until("a copy finds no room", lambda: metric(cluster, "meridian_failed_repairs_total") > failed, 120)
    assert lacking(cluster) > 0
    os.unlink(ballast)
    freed = time.monotonic()
    until("it has got what it missed", lambda: lacking(cluster) == 0, 120)
    told["got_all_after_s"] = round(time.monotonic() - freed, 2)
    copied = metric(cluster, "replication_worker_NUM_BYTES_WRITTEN") / disks.MIB
    # Its last log file may have been all but empty when the disk was full at first. When a node was killed, itself or the other one,
    # copies of what was sent at once were on their way.
    lacked = (count + 2 * AT_ONCE) * PIECE / disks.MIB - (told["log_files"][node.index] - 1) * LOG_FILE_MIB
    told["copied_mib"], told["lacked_mib_max"] = round(copied, 1), lacked
    assert 0 < copied <= lacked, told


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))

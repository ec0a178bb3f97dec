"""One node of three comes back with files that rotted: `bitrot.py OUT [all|CASE…]`.

Nothing acknowledged is lost or served wrong, the node either serves without what it lost or refuses to start and says why, and in
either case the damage is named. Each case begins with the same three disks. OUT gets history.json.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys

import pulsar
from cluster import Cluster
from region import until

TOPIC, COUNT, SIZE = "persistent://public/default/rot", 900, 128 << 10
TAIL = 100  # Messages that only two nodes hold when the region ends.
BLOCK, FILE = 4096, 64 << 20
CONFIG, IO = 78, 70
STARTS = ("served", f"exit {CONFIG}", f"exit {IO}")
WORDS = ("damage", "missing", "shorter", "empty", "meridian:")  # One of them stands in whatever a node says of lost bytes.


def text(number):
    """What message `number` holds: no two blocks of any two are alike."""
    return b"%d:" % number + random.Random(number).randbytes(SIZE)


def is_right(message, number):
    return message.data() == text(number)


class Files:
    """The files of a stopped node, and what can happen to them."""

    def __init__(self, node):
        self.data = os.path.join(node.folder, "data")
        log = os.path.join(self.data, "log")
        paths = [os.path.join(log, name) for name in sorted(os.listdir(log)) if name.startswith("log-")]
        self.log = [path for path in paths if written_bytes(path)]  # The others were made ahead.
        self.meta = os.path.join(self.data, "meta", "log")
        self.random = random.Random(1)

    def change(self, path, offset, change):
        with open(path, "r+b") as file:
            file.seek(offset)
            before = file.read(BLOCK)
            file.seek(offset)
            file.write(change(before))

    def flip(self, path, offset):
        """One bit."""
        self.change(path, offset, lambda block: bytes([block[0] ^ 1]) + block[1:])

    def flips_in_entries(self):
        """Bits all over the oldest file, most of them in entries."""
        for _ in range(40):
            self.flip(self.log[0], self.random.randrange(FILE // 2))

    def flips_in_headers(self):
        """A bit in each block of a stretch of the oldest file, whatever stands there."""
        for block in range(100, 400):
            self.flip(self.log[0], block * BLOCK + self.random.randrange(64))

    def flipped_footer(self):
        """The oldest file's last blocks."""
        written = written_bytes(self.log[0])
        for offset in range(max(0, written - 2 * BLOCK), written, 512):
            self.flip(self.log[0], offset)

    def flip_in_tail(self):
        """Bits in messages that only one other node has."""
        written = written_bytes(self.log[-1])
        for offset in range(written - written // 8, written - written // 16, SIZE // 2):
            self.flip(self.log[-1], offset)

    def truncated_log(self):
        os.truncate(self.log[0], FILE // 2)

    def truncated_tail(self):
        os.truncate(self.log[-1], written_bytes(self.log[-1]) // 2 // BLOCK * BLOCK)

    def deleted_log(self):
        os.unlink(self.log[0])

    def deleted_tail(self):
        os.unlink(self.log[-1])

    def swapped_blocks(self):
        """Stretches of the oldest file stand in each other's place."""
        one, two, size = 8 << 20, 24 << 20, 1 << 20
        with open(self.log[0], "r+b") as file:
            parts = [(at, os.pread(file.fileno(), size, at)) for at in (one, two)]
            for (at, _), (_, part) in zip(parts, reversed(parts)):
                os.pwrite(file.fileno(), part, at)

    def block_of_another_file(self):
        """A write that went to the right place of the wrong file."""
        with open(self.log[1], "rb") as source, open(self.log[0], "r+b") as target:
            os.pwrite(target.fileno(), os.pread(source.fileno(), 1 << 20, 4 << 20), 4 << 20)

    def flip_in_metadata(self):
        """A bit in the first half of what stands in the metadata's log."""
        self.flip(self.meta, written_bytes(self.meta) // 2)

    def truncated_metadata(self):
        os.truncate(self.meta, written_bytes(self.meta) // 2)

    def deleted_metadata(self):
        os.unlink(self.meta)


def written_bytes(path):
    """Up to where a file holds anything but zeros."""
    with open(path, "rb") as file:
        return len(file.read().rstrip(b"\0"))


# What the table of faults calls it.
CASES = {"flips_in_entries": "F16", "flips_in_headers": "F16", "flipped_footer": "F16", "flip_in_tail": "F16",
         "flip_in_metadata": "F16", "truncated_log": "F17", "truncated_tail": "F17", "deleted_log": "F17", "deleted_tail": "F17",
         "truncated_metadata": "F17", "deleted_metadata": "F17", "swapped_blocks": "F18", "block_of_another_file": "F18"}

SHORT = ("flip_in_tail", "truncated_log", "flip_in_metadata", "truncated_metadata", "swapped_blocks")
# Nobody looks at the content of old entries at the start: who reads them notices, or the scrubber in its turn.
SEEN_WHEN_READ = {"flips_in_entries", "flips_in_headers", "swapped_blocks", "block_of_another_file"}
# Then two nodes have not all the messages, and must not say that there are no more.
ONLY_ON_THE_THIRD = {"flip_in_tail", "truncated_tail", "deleted_tail"}


def prepare(folder):
    """A region that was stopped at once, and whose last messages only nodes 0 and 1 hold; its disks are kept aside."""
    cluster = Cluster(folder)
    client = cluster.client(operation_timeout_seconds=30)
    cluster.http("PUT", "/admin/v2/" + TOPIC.replace("://", "/"))
    producer = client.create_producer(TOPIC, send_timeout_millis=30_000, batching_enabled=False)
    for number in range(COUNT - TAIL):
        producer.send(text(number))
    cluster.nodes[2].process.send_signal(signal.SIGSTOP)
    for number in range(COUNT - TAIL, COUNT):
        producer.send(text(number))
    for node in cluster.nodes:
        node.kill()
    client.close()
    for node in cluster.nodes:
        subprocess.run(["cp", "-a", os.path.join(node.folder, "data"), os.path.join(node.folder, "kept")], check=True)
    return cluster


def restore(cluster):
    for node in cluster.nodes:
        data = os.path.join(node.folder, "data")
        shutil.rmtree(data, ignore_errors=True)
        subprocess.run(["cp", "-a", os.path.join(node.folder, "kept"), data], check=True)
        open(os.path.join(node.folder, "server.log"), "w").close()


def read(cluster, patience_s):
    """How many messages were read from the first on, and what was wrong with the one that ended it, if anything."""
    client = cluster.client(operation_timeout_seconds=patience_s)
    number = 0
    try:
        reader = client.create_reader(TOPIC, pulsar.MessageId.earliest)
        while number < COUNT:
            message = reader.read_next(patience_s * 1000)
            if not is_right(message, number):
                return number, f"message {number} came as {message.data()[:20]!r}"
            number += 1
    except pulsar.PulsarException:
        return number, None
    finally:
        client.close()
    return number, None


def begun(node):
    """How the start of a node ended: it serves, or its exit code; or neither for long."""
    if not select.select([node.process.stdout], [], [], 20)[0]:
        return "waits"
    line = node.process.stdout.readline().decode()
    return "served" if line.startswith("ready ") else f"exit {node.process.wait(timeout=30)}"


def said(node):
    with open(os.path.join(node.folder, "server.log"), errors="replace") as log:
        return [line.strip() for line in log if "openraft" not in line and any(word in line for word in WORDS)]


def rot(cluster, case, fails):
    """One case: the node that is hurt first runs with the node that lacks the last messages, and then with both others."""
    hurt, whole, lacking = cluster.nodes
    restore(cluster)
    getattr(Files(hurt), case)()
    lacking.launch()
    hurt.launch()
    told = {"case": case, "table": CASES[case]}
    told["start"] = begun(hurt)
    if told["start"] == "served":
        lacking.ready()
        # Two nodes of which one has lost something and one never had it: what they cannot prove absent they must not deny.
        told["read_by_two"], wrong = read(cluster, 8)
        fails += [f"{case}: of two nodes: {wrong}"] if wrong else []
        short = told["read_by_two"] < COUNT
        fails += [f"{case}: two nodes served what they cannot have"] if case in ONLY_ON_THE_THIRD and not short else []
    whole.launch()
    for node in (whole, lacking):
        if node is whole or told["start"] != "served":
            node.ready()
    if told["start"] == "waits":
        told["start"] = f"with all: {begun(hurt)}"
    told["read"], wrong = read(cluster, 30)
    told["said"] = said(hurt)
    fails += [f"{case}: {wrong}"] if wrong else []
    fails += [f"{case}: {told['read']} of {COUNT} messages were read"] if told["read"] != COUNT else []
    fails += [f"{case}: the node says nothing of it"] if not told["said"] and case not in SEEN_WHEN_READ else []
    fails += [f"{case}: {told['start']}"] if told["start"].removeprefix("with all: ") not in STARTS else []
    for node in cluster.nodes:
        if node.running():
            node.kill()
    print(json.dumps(told), flush=True)
    return told


def main(out, cases):
    cluster, fails, history = prepare(out), [], []
    try:
        for case in {(): SHORT, ("all",): CASES}.get(tuple(cases), cases):
            history.append(rot(cluster, case, fails))
    finally:
        cluster.stop()
        with open(os.path.join(out, "history.json"), "w") as file:
            json.dump({"cases": history, "wrong": fails}, file, indent=1)
    assert not fails, "\n".join(fails)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), sys.argv[2:])

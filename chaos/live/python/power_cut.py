"""Power cuts of one, two and all three nodes of a region at random moments: `power_cut.py OUT [CUTS [SEED]]`.

Each node has a disk of its own that loses what was not synced. After each cut the nodes start by themselves, the region serves
within 5 s, and every message that was acknowledged before is read, in order. OUT gets history.jsonl.
"""

import json
import os
import random
import sys
import time

import disks
from cluster import Cluster
from region import until
from workload import Reader, Writer, prepare, read_back

TOPICS, SERVES_S, DISK = 3, 5.0, 2048 * disks.MIB
# Two of three: what only they acknowledged is on no other disk.
LOST = {"one": 1, "two": 2, "all": 3}


class PowerCuts:
    def __init__(self, out, seed):
        self.random, self.told = random.Random(seed), open(os.path.join(out, "history.jsonl"), "w")
        self.disks = [disks.Disk(os.path.join(out, f"disk-{i}"), os.path.join(out, f"east-{i}", "data"), DISK) for i in range(3)]
        self.cluster = Cluster(out)
        prepare(self.cluster)
        self.client = self.cluster.client(operation_timeout_seconds=30)
        topics = [f"persistent://public/default/power-{i}" for i in range(TOPICS)]
        self.readers = [Reader(self.client, topic) for topic in topics]
        self.writers = [Writer(self.client, topic) for topic in topics]
        for thread in (*self.readers, *self.writers):
            thread.start()

    def serving(self, seconds=30):
        """Seconds until each topic has given a receipt."""
        began = time.monotonic()
        until("a receipt on every topic", lambda: all(writer.since(began) >= 3 for writer in self.writers), seconds)
        return max(next(at for at in writer.receipts[-2000:] if at > began) for writer in self.writers) - began

    def cut(self, number, what):
        nodes = self.random.sample(self.cluster.nodes, LOST[what])
        # How long it works before the power fails, and how long a process goes on without a disk that answers.
        time.sleep(self.random.uniform(0, 0.5))
        for node in nodes:
            self.disks[node.index].cut_power()
        time.sleep(self.random.choice((0, 0, self.random.uniform(0, 0.2))))
        acknowledged = [len(writer.receipts) for writer in self.writers]
        for node in nodes:
            node.kill()
        for node in nodes:
            self.disks[node.index].unmount()
            self.disks[node.index].mount()
        began = time.monotonic()
        for node in nodes:
            node.launch()
        for node in nodes:
            node.ready()
        ready = time.monotonic() - began
        serving = ready + self.serving()
        until("the readers have all that was acknowledged before the cut",
              lambda: all(reader.highest >= count - 1 for reader, count in zip(self.readers, acknowledged)), 60)
        wrong = [found for reader in self.readers for found in reader.wrong]
        told = {"cut": number, "nodes": [node.index for node in nodes], "ready_s": round(ready, 3), "serving_s": round(serving, 3),
                "acknowledged": acknowledged, "wrong": wrong}
        self.told.write(json.dumps(told) + "\n")
        self.told.flush()
        print(json.dumps(told), flush=True)
        assert not wrong, wrong
        return serving

    def read_back(self):
        for writer in self.writers:
            writer.stop()
        wrong = [found for writer in self.writers for found in read_back(self.client, writer.topic, len(writer.receipts))]
        for reader in self.readers:
            reader.stop()
        return wrong

    def close(self):
        self.told.close()
        self.client.close()
        self.cluster.stop()


def main(out, cuts, seed):
    disks.enter_own_mounts()
    why_not = disks.possible()
    if why_not:
        print(f"NOT RUN: {why_not}")
        return
    test, serving = PowerCuts(out, seed), []
    try:
        test.serving()
        for number in range(cuts):
            serving.append(test.cut(number, list(LOST)[number % len(LOST)]))
        acknowledged = sum(len(writer.receipts) for writer in test.writers)
        wrong = test.read_back()
    finally:
        test.close()
    print(f"{cuts} cuts, {acknowledged} messages acknowledged, serving again after at most {max(serving):.2f} s, wrong: {wrong}")
    assert not wrong, wrong
    assert max(serving) <= SERVES_S, f"a region served only {max(serving)} s after the power came back"


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 3, int(sys.argv[3]) if sys.argv[3:] else 1)

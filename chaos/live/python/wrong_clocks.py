"""A region whose three nodes disagree by hours about what time it is: order, ownership and acknowledgements do not notice.

The wall clock of one node is an hour ahead, that of another an hour behind; the third one's jumps by an hour to and fro, each
second. Clocks that only go on are as they are. The program gets its time from a small library that is compiled here.
"""

import json
import os
import shutil
import subprocess
import sys
import time

from cluster import Cluster
from region import until
from steady import TOPIC, Writer, read_all

PAUSE_MAX_S = 5
SKEWS = ("3600", "-3600", "jumps")
LIBRARY = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long skew(long now) {
    const char *by = getenv("WALL_CLOCK_SKEW");
    return !by ? 0 : strcmp(by, "jumps") ? atol(by) : now % 2 ? 3600 : -3600;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    int done = syscall(SYS_clock_gettime, clock, at);
    if (done == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += skew(at->tv_sec);
    return done;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class Clocks:
    """Stands for the machines of a cluster, which here differ in their clocks only."""

    hosts = ["127.0.0.1"] * len(SKEWS)

    def __init__(self, folder):
        source, self.library = os.path.join(folder, "skew.c"), os.path.join(folder, "skew.so")
        with open(source, "w") as file:
            file.write(LIBRARY)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source], check=True)
        shown = [subprocess.run([*self.command(i), "date", "+%s"], capture_output=True, check=True) for i in range(2)]
        ahead, behind = (int(one.stdout) for one in shown)
        assert 7100 < ahead - behind < 7300, "the clocks are not moved"

    def command(self, index):
        return ["env", f"LD_PRELOAD={self.library}", f"WALL_CLOCK_SKEW={SKEWS[index]}"]


def main(folder):
    if not shutil.which("cc"):
        print("NOT RUN: needs a C compiler")
        return
    cluster, pauses = Cluster(folder, net=Clocks(folder)), []
    try:
        writer = Writer(cluster)
        writer.start()
        writer.goes_on("at first")
        for _ in cluster.nodes:
            node, began = cluster.owner(TOPIC), time.monotonic()
            node.kill()
            writer.goes_on(f"after the owner was killed, whose clock goes {SKEWS[node.index]}")
            pauses.append(writer.longest_pause_since(began))
            node.start()
        leader, owner = cluster.leader(), cluster.owner(TOPIC)
        leader.freeze()
        leader.unwell = True
        until("another leads", lambda: cluster.leader() is not leader)
        if owner is not leader:  # Else the client's connection is to a machine that stands still.
            writer.goes_on("while the leader is frozen")
        leader.thaw()
        leader.unwell = False
        writer.goes_on("after the leader woke up")
        writer.stop()
        assert read_all(cluster, len(writer.sent)) == writer.sent, "a receipt without its message, or out of order"
        assert max(pauses) <= PAUSE_MAX_S, pauses
    finally:
        print(json.dumps(pauses), flush=True)
        cluster.stop()
    with open(os.path.join(folder, "history.json"), "w") as file:
        json.dump({"pauses_s": pauses, "sent": len(writer.sent)}, file)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))

"""A region whose three nodes agree neither on the time nor on how long a second is: order, ownership and acknowledgements do not notice.

The wall clock of one node is an hour ahead, that of another an hour behind; the third one's jumps by an hour to and fro, each
second. All clocks of the first node, those that time its waits included, run 1.3 times as fast as the true ones, those of the second at
0.7 of their rate. The program gets its time, and the ends of its waits, from a small library that is compiled here.
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
PERCENT = (130, 70, 100)
# A wait is told to the kernel in true time, so that it ends when the node's own clock says so.
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

typedef long long ns;
static const ns second = 1000000000;
static long (*kernel)(long, ...);
static ns percent, skew, jumps, wall_since, mono_since;

static ns to_ns(const struct timespec *at) { return at->tv_sec * second + at->tv_nsec; }
static struct timespec from_ns(ns at) { return (struct timespec){at / second, at % second}; }
static ns shown(clockid_t clock) {
    struct timespec at;
    return kernel(SYS_clock_gettime, clock, &at) ? 0 : to_ns(&at);
}
__attribute__((constructor)) static void start(void) {
    if (kernel) return;
    kernel = dlsym(RTLD_NEXT, "syscall");
    const char *by = getenv("WALL_CLOCK_SKEW");
    jumps = !strcmp(by, "jumps");
    skew = jumps ? 3600 : atol(by);
    percent = atol(getenv("CLOCKS_PERCENT"));
    wall_since = atol(getenv("WALL_CLOCK_SINCE")) * second;
    mono_since = shown(CLOCK_MONOTONIC);
}
static ns drift(ns true_at, ns since) { return (true_at - since) * (percent - 100) / 100; }
/* Rounded up: nothing ends early. */
static ns true_wait(ns wait) { return (wait * 100 + percent - 1) / percent; }
static ns true_mono(ns shown_at) { return mono_since + true_wait(shown_at - mono_since); }

int clock_gettime(clockid_t clock, struct timespec *at) {
    start();
    int done = kernel(SYS_clock_gettime, clock, at);
    ns now = done ? 0 : to_ns(at);
    if (!done && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        ns jumped = jumps && now / second % 2 == 0 ? -skew : skew;
        *at = from_ns(now + jumped * second + drift(now, wall_since));
    }
    if (!done && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)) *at = from_ns(now + drift(now, mono_since));
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
int epoll_pwait(int epoll, struct epoll_event *events, int max, int wait_ms, const sigset_t *signals) {
    start();
    return kernel(SYS_epoll_pwait, epoll, events, max, wait_ms > 0 ? (int)true_wait(wait_ms) : wait_ms, signals, 8);
}
int epoll_wait(int epoll, struct epoll_event *events, int max, int wait_ms) {
    return epoll_pwait(epoll, events, max, wait_ms, NULL);
}
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wait, struct timespec *left) {
    start();
    struct timespec due = *wait;
    if (!(flags & TIMER_ABSTIME)) due = from_ns(true_wait(to_ns(wait)));
    else if (clock == CLOCK_MONOTONIC) due = from_ns(true_mono(to_ns(wait)));
    return kernel(SYS_clock_nanosleep, clock, flags, &due, left) ? errno : 0;
}
int nanosleep(const struct timespec *wait, struct timespec *left) {
    start();
    struct timespec due = from_ns(true_wait(to_ns(wait)));
    return kernel(SYS_nanosleep, &due, left);
}
long syscall(long number, ...) {
    va_list args;
    long arg[6];
    va_start(args, number);
    for (int i = 0; i < 6; i++) arg[i] = va_arg(args, long);
    va_end(args);
    start();
    struct timespec due;
    int op = number == SYS_futex ? arg[1] & ~FUTEX_PRIVATE_FLAG : -1;
    if ((op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET) && arg[3]) {
        ns until = to_ns((struct timespec *)arg[3]);
        due = from_ns(op == FUTEX_WAIT ? true_wait(until) : true_mono(until));
        arg[3] = (long)&due;
    }
    return kernel(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
"""
# What a node's clock shows of a wait that it measures, beside the one clock that is left true.
MEASURE = """
import time
own, true = time.monotonic, lambda: time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
began = own(), true()
time.sleep(0.2)
print((own() - began[0]) / (true() - began[1]), own() - began[0], time.time())
"""


class Clocks:
    """Stands for the machines of a cluster, which here differ in their clocks only."""

    hosts = ["127.0.0.1"] * len(SKEWS)

    def __init__(self, folder):
        self.since = int(time.time())
        source, self.library = os.path.join(folder, "clocks.c"), os.path.join(folder, "clocks.so")
        with open(source, "w") as file:
            file.write(LIBRARY)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source], check=True)
        walls = []
        for index, percent in enumerate(PERCENT):
            shown = subprocess.run([*self.command(index), sys.executable, "-c", MEASURE], capture_output=True, check=True)
            rate, waited, wall = map(float, shown.stdout.split())
            assert abs(rate - percent / 100) < 0.03, f"the clock that only goes on runs at {rate}, not {percent} percent"
            assert 0.19 < waited < 0.4, f"a wait of 0.2 s took {waited} s of its own clock"
            walls.append(wall)
        assert 7100 < walls[0] - walls[1] < 7300, "the wall clocks are not moved"

    def command(self, index):
        return ["env", f"LD_PRELOAD={self.library}", f"WALL_CLOCK_SKEW={SKEWS[index]}", f"WALL_CLOCK_SINCE={self.since}",
                f"CLOCKS_PERCENT={PERCENT[index]}"]


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
            clocks = f"{SKEWS[node.index]} and {PERCENT[node.index]} percent"
            writer.goes_on(f"after the owner was killed, whose clocks go {clocks}")
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

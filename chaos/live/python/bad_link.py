"""A bad network: `bad_link.py '{"bridge", "tap", "machines": {IP: HARDWARE ADDRESS}, "loss", "doubled", "jitter_s", "seed"}'`.

It sits on a port of the bridge, takes the Ethernet frames that are sent to its hardware address, which it prints, and passes them
on to whom their IP address belongs: `loss` and `doubled` are shares of them, and each copy waits up to `jitter_s` seconds, so
that later ones overtake it. It ends with its standard input, and tells how many frames it passed, lost and doubled.
"""

import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

DEVICE = "/dev/net/tun"
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
# Not that of the port itself, or the bridge would keep the frames.
ADDRESS = "02:00:00:00:00:fe"
# No test keeps more frames waiting; a queue without an end would be a network that loses nothing.
WAITING_MAX = 20_000


def raw(address):
    return bytes.fromhex(address.replace(":", ""))


class BadLink:
    def __init__(self, tap, bridge, machines, loss=0.0, doubled=0.0, jitter_s=0.0, seed=0):
        self.targets = {socket.inet_aton(host): raw(address) for host, address in machines.items()}
        self.loss, self.doubled, self.jitter_s = loss, doubled, jitter_s
        self.random, self.waiting, self.order = random.Random(seed), [], 0
        self.told = {"passed": 0, "lost": 0, "doubled": 0}
        self.port = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.port, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI))
        subprocess.run(["ip", "link", "set", tap, "txqueuelen", "10000", "master", bridge, "up"], check=True)
        # The bridge learns where the address is; until then it asks every port.
        os.write(self.port, b"\xff" * 6 + raw(ADDRESS) + b"\x88\xb5" + bytes(46))

    def take(self, frame):
        target = self.targets.get(frame[30:34]) if frame[12:14] == b"\x08\x00" and frame[:6] == raw(ADDRESS) else None
        if target is None:
            return
        if self.random.random() < self.loss or len(self.waiting) >= WAITING_MAX:
            self.told["lost"] += 1
            return
        self.told["passed"] += 1
        copies = 2 if self.random.random() < self.doubled else 1
        self.told["doubled"] += copies - 1
        for _ in range(copies):
            self.order += 1
            due = time.monotonic() + self.random.random() * self.jitter_s
            heapq.heappush(self.waiting, (due, self.order, target + raw(ADDRESS) + frame[12:]))

    def pass_on(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            os.write(self.port, heapq.heappop(self.waiting)[2])

    def run(self):
        while True:
            wait = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            ready = select.select([self.port, sys.stdin], [], [], wait)[0]
            if sys.stdin in ready:
                return self.told
            try:
                while self.port in ready:
                    self.take(os.read(self.port, 65536))
            except BlockingIOError:
                pass
            self.pass_on()


if __name__ == "__main__":
    link = BadLink(**json.loads(sys.argv[1]))
    print(ADDRESS, flush=True)
    print(json.dumps(link.run()), flush=True)

"""Machines of their own for the nodes of one test: a network namespace each, one bridge between them. Needs root and `ip`.

The tests' own clients reach every node through the bridge and are never cut off. A direction is cut by sending one node's
packets for another to a hardware address that nobody has: they are lost in silence, as on a real network. With the hardware
address of bad_link.py they reach a program that loses, doubles, delays and reorders them.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys

NOWHERE = "02:00:00:00:00:ff"


def possible():
    """Why namespaces cannot be used here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which("ip"):
        return "needs `ip` (iproute2)"
    try:
        Net(1).remove()
    except AssertionError as refused:
        return f"needs a system that allows network namespaces: {refused}"
    return None


def ip(*words, check=True):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0 or not check, f"ip {' '.join(words)}: {done.stderr}"


class Net:
    """`count` namespaces with the addresses .11, .12, … of one small network; the bridge itself is .1."""

    def __init__(self, count):
        tag = f"{os.getpid() % 0xFFFF:04x}"
        self.prefix = f"10.{64 + os.getpid() % 64}.{os.getpid() // 64 % 250}"
        self.bridge, self.names = f"mb{tag}", [f"mn{tag}-{i}" for i in range(count)]
        self.hosts = [f"{self.prefix}.{11 + i}" for i in range(count)]
        self.cuts, self.bad_link = set(), None
        try:
            self.build(tag)
        except AssertionError:
            self.remove()
            raise

    def build(self, tag):
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.prefix}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        for i, name in enumerate(self.names):
            ip("netns", "add", name)
            ip("link", "add", f"mv{tag}-{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"mv{tag}-{i}", "master", self.bridge, "up")
            ip("-n", name, "addr", "add", f"{self.hosts[i]}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def command(self, index):
        """What stands before a command that is to run on a machine."""
        return ["ip", "netns", "exec", self.names[index]]

    def cut(self, source, target):
        """Packets from one machine to another are lost from now on; those of the other direction are not."""
        self.divert(source, target, NOWHERE)

    def divert(self, source, target, address):
        self.cuts.add((source, target))
        ip("-n", self.names[source], "neigh", "replace", self.hosts[target], "lladdr", address, "nud", "permanent",
           "dev", "eth0")

    def worsen(self, **how):
        """Packets between all machines pass through bad_link.py from now on, which says what the words mean."""
        machines = {host: self.hardware_address(name) for host, name in zip(self.hosts, self.names)}
        told = {"bridge": self.bridge, "tap": "mt" + self.bridge[2:], "machines": machines, **how}
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bad_link.py")
        self.bad_link = subprocess.Popen([sys.executable, script, json.dumps(told)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        address = self.bad_link.stdout.readline().decode().strip()
        assert address, "the bad link did not start"
        for a, b in itertools.permutations(range(len(self.names)), 2):
            self.divert(a, b, address)

    def hardware_address(self, name):
        shown = subprocess.run(["ip", "-n", name, "-j", "link", "show", "eth0"], capture_output=True, check=True).stdout
        return json.loads(shown)[0]["address"]

    def part(self, one, two):
        """Cuts every pair of machines of which one stands on either side."""
        for a, b in itertools.product(one, two):
            self.cut(a, b)
            self.cut(b, a)

    def heal(self):
        for source, target in self.cuts:
            ip("-n", self.names[source], "neigh", "del", self.hosts[target], "dev", "eth0")
        self.cuts.clear()
        return self.end_bad_link()

    def end_bad_link(self):
        """What the bad link did to how many packets, if there was one."""
        link, self.bad_link = self.bad_link, None
        return json.loads(link.communicate(timeout=10)[0]) if link else None

    def remove(self):
        self.end_bad_link()
        for name in self.names:
            ip("netns", "del", name, check=False)
        ip("link", "del", self.bridge, check=False)

"""What chaos.py does to a node, and how it is undone. Numbers are those of the fault table (docs/testing.md)."""

import os
import random
import shutil
import signal
import subprocess
import time

import bad_link
import netns
from region import until

IO = 70  # How a server ends whose disk failed.


class Fault:
    """One way to lose or hurt `victim`; `hold_s` is how long it lasts before `heal`."""

    number, needs_net, needs_strace, hold_s = "", False, False, 3.0

    def __init__(self, name, victim):
        self.name, self.victim = name, victim

    def why_not(self, net):
        """Why this machine cannot do it, or nothing."""
        if self.needs_net and net is None:
            return netns.possible() or "needs network namespaces"
        if self.needs_strace and not shutil.which("strace"):
            return "needs strace"
        return None

    def inject(self, cluster, net, node):
        """Does it; returns when it took effect, if that was not at once."""
        raise NotImplementedError

    def heal(self, cluster, net, node):
        raise NotImplementedError


class Kill(Fault):
    """kill -9, and started again."""

    number = "F1/F2"

    def inject(self, cluster, net, node):
        node.kill()

    def heal(self, cluster, net, node):
        node.start()


class KillAll(Fault):
    """Every node at once, started in another order."""

    number, hold_s = "F3", 0.0

    def inject(self, cluster, net, node):
        for one in cluster.nodes:
            one.process.kill()
        for one in cluster.nodes:
            one.process.wait()

    def heal(self, cluster, net, node):
        order = sorted(cluster.nodes, key=lambda one: (one.index - node.index) % len(cluster.nodes), reverse=True)
        for one in order:
            one.launch()
        for one in order:
            one.ready()


class Freeze(Fault):
    """SIGSTOP of the server and its watchdog: the process believes that no time has passed and goes on as what it was."""

    number, hold_s = "F4/F5", 5.0

    def inject(self, cluster, net, node):
        node.freeze()

    def heal(self, cluster, net, node):
        node.thaw()


class Stop(Fault):
    """SIGSTOP of the server alone: its watchdog kills it, and it is started again."""

    number, hold_s = "F4/F5", 5.0

    def inject(self, cluster, net, node):
        os.kill(node.process.pid, signal.SIGSTOP)

    def heal(self, cluster, net, node):
        code = node.process.wait(timeout=10)
        assert code == -signal.SIGKILL, f"{node.name}-{node.index} stood still and ended with {code}"
        node.start()


class Apart(Fault):
    """The node hears and reaches no other node; clients reach all."""

    number, needs_net, hold_s = "F6", True, 5.0

    def inject(self, cluster, net, node):
        net.part([node.index], [one.index for one in cluster.nodes if one is not node])

    def heal(self, cluster, net, node):
        net.heal()


class OneWay(Apart):
    """The node and the others do not reach each other in one direction."""

    number = "F7"

    def way(self, node, other):
        raise NotImplementedError

    def inject(self, cluster, net, node):
        for other in cluster.nodes:
            if other is not node:
                net.cut(*self.way(node.index, other.index))


class Deaf(OneWay):
    """The node reaches the others and hears nothing of them."""

    def way(self, node, other):
        return other, node


class Mute(OneWay):
    """The node hears the others and reaches none of them."""

    def way(self, node, other):
        return node, other


class Bridge(Apart):
    """The two others do not reach each other; both reach the node."""

    number = "F7"

    def inject(self, cluster, net, node):
        one, two = (other.index for other in cluster.nodes if other is not node)
        net.part([one], [two])


class Lossy(Fault):
    """All packets between all nodes pass a network that loses and doubles some and changes their order."""

    number, needs_net, hold_s = "F8", True, 8.0

    def __init__(self, name, victim, **how):
        super().__init__(name, victim)
        self.how = how

    def why_not(self, net):
        return super().why_not(net) or (None if os.path.exists(bad_link.DEVICE) else f"needs {bad_link.DEVICE}")

    def inject(self, cluster, net, node):
        net.worsen(seed=random.randrange(1 << 32), **self.how)

    def heal(self, cluster, net, node):
        told = net.heal()
        print(told, flush=True)
        assert told["passed"] and all(told[did] for did, how in (("lost", "loss"), ("doubled", "doubled")) if self.how.get(how)), told


def threads(pid):
    return os.listdir(f"/proc/{pid}/task")


def is_traced(pid, thread):
    try:
        with open(f"/proc/{pid}/task/{thread}/status") as status:
            return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in status)
    except OSError:
        return True  # It has ended.


class Traced(Fault):
    """Changes the answers of the system's calls under a running process."""

    needs_strace, call, inject_as = True, "fdatasync", ""

    def inject(self, cluster, net, node):
        attached = os.path.join(node.folder, "strace.txt")
        only = [word for path in self.paths(node) for word in ("-P", path)]
        self.tracer = subprocess.Popen(["strace", "-f", "-o", attached, "-p", str(node.process.pid), *only,
                                        "-e", f"trace={self.call}", "-e", f"inject={self.call}:{self.inject_as}"],
                                       stderr=subprocess.DEVNULL)
        until("every thread is traced", lambda: node.process.poll() is not None
              or all(is_traced(node.process.pid, thread) for thread in threads(node.process.pid)))

    def paths(self, node):
        """The files whose calls are meant; all, if there is none."""
        return []

    def end_tracer(self):
        self.tracer.send_signal(signal.SIGINT)
        self.tracer.wait()


class SlowDisk(Traced):
    """Every sync of one node's disk takes half a second longer."""

    number, hold_s, inject_as = "F9", 8.0, "delay_enter=500000"

    def heal(self, cluster, net, node):
        self.end_tracer()


class SyncFails(Traced):
    """One sync fails: the process must end without a receipt for that group, and comes back."""

    number, inject_as = "F10", "error=EIO:when=1"

    def heal(self, cluster, net, node):
        try:
            code = node.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.end_tracer()
            raise AssertionError(f"a node went on after {self.name}") from None
        self.tracer.wait()
        assert code == IO, f"a node ended with {code} after {self.name}"
        node.start()


class WriteFails(SyncFails):
    """One write fails, in whatever file of the node comes first: that is the log of entries."""

    number, call = "F11", "pwrite64,pwritev,write"

    def paths(self, node):
        log = os.path.join(node.folder, "data", "log")
        return [os.path.join(log, name) for name in os.listdir(log)]


class ShortWrite(WriteFails):
    """One write takes nothing of what it was given, and says so."""

    inject_as = "retval=0:when=1"


class MetadataWriteFails(WriteFails):
    """One write of the metadata's log fails."""

    def paths(self, node):
        return [os.path.join(node.folder, "data", "meta", "log")]

    def inject(self, cluster, net, node):
        super().inject(cluster, net, node)
        cluster.http("POST", "/admin/v2/namespaces/public/default/messageTTL", random.randrange(1 << 20, 1 << 30))


class VoteFails(MetadataWriteFails):
    """The write of a vote fails: the leader is lost, so that the node stands for election or is asked for its vote."""

    def inject(self, cluster, net, node):
        WriteFails.inject(self, cluster, net, node)
        self.leader = cluster.leader()
        self.leader.kill()

    def heal(self, cluster, net, node):
        self.leader.start()
        super().heal(cluster, net, node)


class SnapshotWriteFails(WriteFails):
    """The write of a snapshot of the metadata fails, once so much was written that one is due."""

    NAMESPACE = "/admin/v2/namespaces/public/default"
    PIECE_BYTES, PIECES_MAX = 60_000, 1500

    def paths(self, node):
        return [os.path.join(node.folder, "data", "meta", "snapshot.new")]

    def inject(self, cluster, net, node):
        super().inject(cluster, net, node)
        asked, running = next(one for one in cluster.nodes if one is not node), time.monotonic()
        for piece in range(self.PIECES_MAX):
            if node.process.poll() is not None:
                break
            running = time.monotonic()
            status, answer = asked.ask("PUT", f"{self.NAMESPACE}/properties", {"filler": str(piece % 10) * self.PIECE_BYTES})
            assert status in (204, 503), (status, answer)
        return running

    def heal(self, cluster, net, node):
        super().heal(cluster, net, node)
        cluster.http("DELETE", f"{self.NAMESPACE}/property/filler")


class CookieWriteFails(WriteFails):
    """A start cannot write who it is: it ends, wherever that fails, and the next one is no old copy of itself."""

    # The first file is written before the metadata is asked for the next incarnation, the second one after it has agreed.
    WAYS = ("write:error=EIO:when=1", "fsync:error=EIO:when=1", "renameat2:error=EIO:when=1", "write:retval=0:when=1",
            "fsync:error=EIO:when=2", "renameat2:error=EIO:when=2")

    def inject(self, cluster, net, node):
        node.kill()
        before = node.before
        for way in self.WAYS:
            call, how = way.split(":", 1)
            path = os.path.join(node.folder, "data", "node.json.spare")
            node.before = [*before, "strace", "-f", "-o", os.path.join(node.folder, "strace.txt"), "-P", path,
                           "-e", f"trace={call}", "-e", f"inject={call}:{how}"]
            node.launch()
            try:
                code = node.process.wait(timeout=30)
            finally:
                node.before = before
            assert code == IO, f"a node ended with {code} after {way} of its cookie"

    def heal(self, cluster, net, node):
        node.start()


KINDS = {"kill": Kill, "freeze": Freeze, "stop": Stop, "apart": Apart, "deaf": Deaf, "mute": Mute, "bridge": Bridge,
         "slow-disk": SlowDisk, "sync-fails": SyncFails, "write-fails": WriteFails, "short-write": ShortWrite,
         "metadata-write-fails": MetadataWriteFails}
# The three places that R10 names; the owner is that of a topic under load, the other is neither owner nor leader.
VICTIMS = ("owner", "leader", "other")


def all_faults():
    faults = {f"{kind} {victim}": make(f"{kind} {victim}", victim) for kind, make in KINDS.items() for victim in VICTIMS}
    faults["kill all"] = KillAll("kill all", "owner")
    faults["vote-fails"] = VoteFails("vote-fails", "other")
    faults["snapshot-write-fails"] = SnapshotWriteFails("snapshot-write-fails", "other")
    faults["cookie-write-fails"] = CookieWriteFails("cookie-write-fails", "other")
    faults["lossy 1%"] = Lossy("lossy 1%", "owner", loss=0.01, doubled=0.01, jitter_s=0.01)
    faults["lossy 5%"] = Lossy("lossy 5%", "owner", loss=0.05, doubled=0.05, jitter_s=0.05)
    faults["lossy 20%"] = Lossy("lossy 20%", "owner", loss=0.2, doubled=0.1, jitter_s=0.2)
    return faults

"""What chaos.py does to a node, and how it is undone. Numbers are those of the fault table (docs/testing.md)."""

import shutil
import signal
import subprocess

import netns


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
    """SIGSTOP: the process believes that no time has passed and goes on as what it was."""

    number, hold_s = "F4/F5", 5.0

    def inject(self, cluster, net, node):
        node.freeze()

    def heal(self, cluster, net, node):
        node.thaw()


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


class Traced(Fault):
    """Changes the answers of the system's calls under a running process."""

    needs_strace, inject_as = True, ""

    def inject(self, cluster, net, node):
        self.tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(node.process.pid),
                                        "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{self.inject_as}"],
                                       stderr=subprocess.PIPE)

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

    number, hold_s, inject_as = "F10", 3.0, "error=EIO:when=1"

    def heal(self, cluster, net, node):
        try:
            code = node.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.end_tracer()
            raise AssertionError("a node whose sync failed went on") from None
        self.tracer.wait()
        assert code not in (0, 78), f"a node whose sync failed ended with {code}"
        node.start()


KINDS = {"kill": Kill, "freeze": Freeze, "apart": Apart, "deaf": Deaf, "mute": Mute, "bridge": Bridge,
         "slow-disk": SlowDisk, "sync-fails": SyncFails}
# The three places that R10 names; the owner is that of a topic under load, the other is neither owner nor leader.
VICTIMS = ("owner", "leader", "other")


def all_faults():
    faults = {f"{kind} {victim}": make(f"{kind} {victim}", victim) for kind, make in KINDS.items() for victim in VICTIMS}
    faults["kill all"] = KillAll("kill all", "owner")
    return faults

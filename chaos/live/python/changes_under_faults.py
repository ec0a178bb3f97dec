"""Nodes join, leave and are replaced while others are cut off, frozen or killed (F22): no promise ends, nothing is half done.
In the end all are killed at once: the one founder that is left finds the others, though it was not told of them when it started."""

import contextlib
import os
import sys

import netns
from cluster import Cluster
from members import REFUSED, admin, join, nodes, number, votes
from region import until
from steady import Writer, read_all

MACHINES = 6


def apart(cluster, net, node):
    """Cuts a node off from all others; clients still reach it."""
    node.unwell = True
    net.part([node.index], [index for index in range(MACHINES) if index != node.index])


def together(cluster, net):
    net.heal()
    for node in cluster.nodes:
        node.unwell = False


def follower(cluster, *but):
    leader = cluster.leader()
    return next(node for node in cluster.nodes if node is not leader and node not in but and node.running())


def a_node_joins_while_another_is_cut_off(cluster, net, writer):
    """F6: two of three voters admit it, and the one that was away learns of it."""
    lonely = follower(cluster)
    apart(cluster, net, lonely)
    new = join(cluster, 3, net)
    new.start()
    cluster.nodes.append(new)
    writer.goes_on("while one node is cut off and another joins")
    id = number(cluster, new)
    together(cluster, net)
    until("the node that was away knows the new one", lambda: any(
        shown["id"] == id for shown in lonely.http("GET", "/admin/v2/cluster/status")["nodes"]))
    until("all four count as up", lambda: [shown["up"] for shown in nodes(cluster).values()] == [True] * 4)


def a_dead_node_is_removed_while_another_is_cut_off(cluster, net, writer):
    """F1 and F6: refused while it would need a voter that is away, or done; never half of it."""
    dead = follower(cluster)
    id = number(cluster, dead)
    dead.kill()
    until("it counts as down", lambda: not nodes(cluster)[id]["up"])
    lonely = follower(cluster, dead)
    apart(cluster, net, lonely)
    code, _, error = admin(cluster, "cluster", "remove-node", str(id))
    assert code in (0, REFUSED), (code, error)
    together(cluster, net)
    if code == REFUSED:
        until("the removal is accepted", lambda: admin(cluster, "cluster", "remove-node", str(id))[0] == 0)
    until("it is gone", lambda: id not in nodes(cluster))
    cluster.nodes.remove(dead)
    until("three vote", lambda: sum(votes(cluster, one) for one in nodes(cluster)) == 3)
    writer.goes_on("after a removal beside a partition")


def the_leader_is_frozen_while_a_node_joins(cluster, net, writer):
    """F4, F5: whoever leads afterwards has the new node, and so has the one that slept."""
    leader = cluster.leader()
    new = join(cluster, 4, net)
    new.launch()
    leader.freeze()
    leader.unwell = True
    new.ready()
    cluster.nodes.append(new)
    until("another leads", lambda: cluster.leader() is not leader)
    id = number(cluster, new)
    leader.thaw()
    leader.unwell = False
    writer.goes_on("after the leader slept while a node joined")
    until("the one that slept knows the new node", lambda: any(
        shown["id"] == id for shown in leader.http("GET", "/admin/v2/cluster/status")["nodes"]))
    until("three vote, so that two of them may lose each other", lambda: sum(
        votes(cluster, one) for one in nodes(cluster)) >= 3)


def a_node_is_replaced_behind_a_one_way_cut(cluster, net, writer):
    """F7: the leader does not hear one of the voters while another node takes the place of a third."""
    mute = follower(cluster)
    leaving = follower(cluster, mute)
    id = number(cluster, leaving)
    net.cut(mute.index, cluster.leader().index)
    mute.unwell = True
    new = join(cluster, 5, net)
    new.start()
    cluster.nodes.append(new)
    writer.goes_on("behind a one-way cut")
    together(cluster, net)
    leaving.kill()
    until("the dead one counts as down", lambda: not nodes(cluster)[id]["up"])
    until("the dead one is removed", lambda: admin(cluster, "cluster", "remove-node", str(id))[0] == 0)
    cluster.nodes.remove(leaving)
    until("it is gone", lambda: id not in nodes(cluster))
    writer.goes_on("with the node that replaced it")


CHANGES = (a_node_joins_while_another_is_cut_off, a_dead_node_is_removed_while_another_is_cut_off,
           the_leader_is_frozen_while_a_node_joins, a_node_is_replaced_behind_a_one_way_cut)


def main():
    why_not = netns.possible()
    if why_not:
        print(f"NOT RUN: {why_not}")
        return
    net = netns.Net(MACHINES)
    with contextlib.ExitStack() as after:
        after.callback(net.remove)
        cluster = Cluster(sys.argv[1], extra="voter_grace_seconds = 3\n", net=net)
        after.callback(cluster.stop)
        writer = Writer(cluster)
        writer.start()
        writer.goes_on("at first")
        until("all three vote", lambda: sum(votes(cluster, id) for id in nodes(cluster)) == 3)
        for change in CHANGES:
            print(change.__name__, flush=True)
            change(cluster, net, writer)
        writer.stop()
        for one in cluster.nodes:
            one.process.kill()
        for one in cluster.nodes:
            one.process.wait()
            one.launch()
        for one in cluster.nodes:
            one.ready()
        got = read_all(cluster, len(writer.sent))
        assert got == writer.sent, "a message with a receipt is missing, doubled or out of order"
        print(f"{len(got)} messages, all there")


main()
os._exit(0)

"""Nodes of a region are removed, replaced, wiped, restored and copied while a client publishes; each mistake is refused by name."""

import os
import shutil
import sys

from cluster import Cluster
from members import REFUSED, admin, join, nodes, number, passport, refused, votes
from region import run, until
from steady import Writer, read_all


def unload_and_delete_over_nodes(cluster, writer):
    """A namespace whose topics several nodes serve is unloaded and deleted by one request to any of them."""
    namespace = "public/spread"
    cluster.http("PUT", f"/admin/v2/namespaces/{namespace}", {"bundles": {"numBundles": 8}})
    client = cluster.client(operation_timeout_seconds=30)
    topics = [f"persistent://{namespace}/t{i}" for i in range(12)]
    producers = [client.create_producer(topic) for topic in topics]
    for producer in producers:
        producer.send(b"one")
    owners = {cluster.owner(topic).index for topic in topics}
    assert len(owners) > 1, owners
    cluster.http("PUT", f"/admin/v2/namespaces/{namespace}/unload")
    for producer in producers:
        producer.send(b"two")
    assert len({cluster.owner(topic).index for topic in topics}) > 1, "bundles stay spread"
    client.close()
    cluster.http("DELETE", f"/admin/v2/namespaces/{namespace}?force=true")
    status, answer = cluster.any().ask("GET", f"/admin/v2/namespaces/{namespace}/topics")
    assert status == 404, (status, answer)
    writer.goes_on("after another namespace was deleted")


def replace_a_killed_node(cluster, writer):
    gone = next(node for node in cluster.nodes if node not in (cluster.leader(),))
    id = number(cluster, gone)
    code, _, error = admin(cluster, "cluster", "remove-node", str(id))
    assert code == REFUSED and f"node {id} is up: stop it first" in error and "--force" in error, (code, error)
    gone.kill()
    writer.goes_on("after the kill")
    until("the killed node counts as down", lambda: not nodes(cluster)[id]["up"])
    code, _, error = admin(cluster, "cluster", "remove-node", str(id))
    assert code == 0, error
    code, _, error = admin(cluster, "cluster", "remove-node", str(id))
    assert code == REFUSED and f"no node {id}" in error, (code, error)
    until("the removed node has no vote", lambda: id not in nodes(cluster))
    cluster.nodes.remove(gone)
    new = join(cluster, 3)
    new.start()
    cluster.nodes.append(new)
    until("the new node votes", lambda: votes(cluster, number(cluster, new)))
    assert number(cluster, new) > 3, "a number is never given again"
    assert sum(votes(cluster, one) for one in nodes(cluster)) == 3
    writer.goes_on("with the new node")
    refused(gone, "node.json", f"node {id} was removed from this region", "empty data folder")
    shutil.rmtree(os.path.join(gone.folder, "data", "meta"))
    refused(gone, "meta", f"node {id} has run on this data folder", f"remove-node {id}")


def refuse_wrong_certificates(cluster):
    foreign = os.path.join(cluster.folder, "foreign-identity")
    code, _, error = run("identity", "create", "--region", cluster.name, "--out", foreign)
    assert code == 0, error
    refused(join(cluster, 4, identity=foreign), "cannot be of one region", "another authority", "copy the directory of a member")
    assert len(nodes(cluster)) == 3, "a stranger got a number"


def refuse_disks_that_forgot(cluster, writer):
    """Of a node that leaves and comes back: a folder emptied, the name gone, an old copy."""
    node = next(node for node in cluster.nodes if node is not cluster.leader())
    id, data = number(cluster, node), os.path.join(node.folder, "data")
    node.stop()
    writer.goes_on("after an orderly stop")
    for folder, rule in (("meta", "forgot its votes"), ("log", "forgot its entries")):
        aside = os.path.join(node.folder, folder + "-aside")
        os.rename(os.path.join(data, folder), aside)
        refused(node, os.path.join(data, folder), rule, "Empty the whole data folder", f"remove-node {id}")
        os.makedirs(os.path.join(data, folder), exist_ok=True)
        refused(node, os.path.join(data, folder), rule)
        shutil.rmtree(os.path.join(data, folder))
        os.rename(aside, os.path.join(data, folder))
    copy = os.path.join(node.folder, "copy")
    shutil.copytree(data, copy)
    node.start()
    writer.goes_on("when it is back")
    node.stop()
    newer = os.path.join(node.folder, "newer")
    os.rename(data, newer)
    os.rename(copy, data)
    refused(node, "node.json", f"an old copy of node {id}", "Use the newer disk")
    shutil.rmtree(data)
    os.rename(newer, data)
    node.start()
    until("it counts as up again", lambda: nodes(cluster)[id]["up"])


def refuse_a_twin(cluster, writer):
    """A copy of a node's disk beside the node itself."""
    node = next(node for node in cluster.nodes if node is not cluster.leader())
    id, data = number(cluster, node), os.path.join(node.folder, "data")
    twin = join(cluster, 5)
    shutil.copytree(data, os.path.join(twin.folder, "data"))
    refused(twin, f"another process is running as node {id}", "two processes share one identity")
    assert node.running() and nodes(cluster)[id]["up"]
    writer.goes_on("beside the twin")
    return node, twin


def refuse_a_copy_of_the_present_life(cluster, writer, node, twin):
    """The node has run on since its disk was copied, without a start: the copy lacks what it has promised since."""
    id, data, copy = number(cluster, node), os.path.join(node.folder, "data"), os.path.join(twin.folder, "data")
    until("the disk is two stamps ahead of its copy", lambda: passport(data)["stamp"] > passport(copy).get("stamping", 0))
    assert passport(data)["incarnation"] == passport(copy)["incarnation"]
    node.kill()
    writer.goes_on("without it")
    newer = os.path.join(node.folder, "newer")
    os.rename(data, newer)
    os.rename(copy, data)
    refused(node, "node.json", f"an old copy of node {id}", "stamp", "Use the newer disk")
    shutil.rmtree(data)
    os.rename(newer, data)
    node.start()
    until("it counts as up again", lambda: nodes(cluster)[id]["up"])


def replace_a_voter_that_stays_down(cluster, writer):
    spare = join(cluster, 6)
    spare.start()
    cluster.nodes.append(spare)
    spare_id = number(cluster, spare)
    until("the spare node is a learner", lambda: nodes(cluster)[spare_id]["metadata"] == "learner")
    lost = next(node for node in cluster.nodes if node not in (cluster.leader(), spare))
    id = number(cluster, lost)
    lost.kill()
    until("the spare node has the vote", lambda: votes(cluster, spare_id) and not votes(cluster, id))
    writer.goes_on("with the spare node")
    lost.start()
    until("the lost one is a learner", lambda: nodes(cluster)[id]["metadata"] == "learner" and nodes(cluster)[id]["up"])


def main():
    cluster = Cluster(sys.argv[1], extra="voter_grace_seconds = 3\n")
    try:
        writer = Writer(cluster)
        writer.start()
        writer.goes_on("at first")
        until("all three vote", lambda: sum(votes(cluster, id) for id in nodes(cluster)) == 3)
        code, out, error = admin(cluster, "cluster", "status")
        assert code == 0 and out.count(" voter ") == 2 and out.count(" leader ") == 1, (out, error)
        unload_and_delete_over_nodes(cluster, writer)
        replace_a_killed_node(cluster, writer)
        refuse_wrong_certificates(cluster)
        refuse_disks_that_forgot(cluster, writer)
        refuse_a_copy_of_the_present_life(cluster, writer, *refuse_a_twin(cluster, writer))
        replace_a_voter_that_stays_down(cluster, writer)
        writer.stop()
        got = read_all(cluster, len(writer.sent))
        assert got == writer.sent, "a message with a receipt is missing, doubled or out of order"
        print(f"{len(got)} messages, all there")
    finally:
        cluster.stop()


main()
os._exit(0)

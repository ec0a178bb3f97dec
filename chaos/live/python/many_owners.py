"""Admin requests about a partitioned topic and a namespace that several nodes of a region serve, made at each of the nodes."""

import json
import os
import sys
import time

import pulsar
from cluster import Cluster
from members import move
from region import until

PARTITIONS = 12
EACH = 5
NAMESPACE = "public/default"
NAME = "spread"
TOPIC = f"persistent://{NAMESPACE}/{NAME}"
PATH = f"/admin/v2/persistent/{NAMESPACE}/{NAME}"
TOTAL = PARTITIONS * EACH


def partition(index):
    return f"{TOPIC}-partition-{index}"


def done(node, method, path, body=None, status=204):
    """A request that this very node answers, so that nobody is sent elsewhere."""
    code, answer = node.ask(method, path, body)
    assert code == status, f"{node.name}-{node.index} {method} {path}: {code} {answer}"
    return answer


def owners(cluster):
    return {index: cluster.owner(partition(index)).index for index in range(PARTITIONS)}


def spread_out(cluster):
    """Every node serves partitions: bundles of a node with several go to one without."""
    while True:
        found = owners(cluster)
        without = [node for node in cluster.nodes if node.index not in found.values()]
        if not without:
            return found
        count = lambda node: list(found.values()).count(node)
        index = next(index for index, owner in found.items() if owner == max(found.values(), key=count))
        move(cluster, partition(index), without[0])


def publish(cluster):
    client = cluster.client(operation_timeout_seconds=30)
    for index in range(PARTITIONS):
        producer = client.create_producer(partition(index), send_timeout_millis=30000, batching_enabled=False)
        for number in range(EACH):
            producer.send(f"{index}:{number}".encode())
    client.close()


def stats(node):
    answer = done(node, "GET", f"{PATH}/partitioned-stats", status=200)
    assert set(answer["partitions"]) == {partition(index) for index in range(PARTITIONS)}, answer["partitions"].keys()
    assert answer["metadata"]["partitions"] == PARTITIONS
    return answer


def backlog(node, name):
    """Entries not acknowledged, the sum and each partition's."""
    answer = stats(node)
    of_each = [one["subscriptions"][name]["msgBacklog"] for one in answer["partitions"].values()]
    assert answer["subscriptions"][name]["msgBacklog"] == sum(of_each)
    return of_each


def topic_calls(node, number):
    """Everything that may be asked of a partitioned topic, at one node."""
    name = f"reader-{number}"
    sub = f"{PATH}/subscription/{name}"
    done(node, "PUT", sub, {"ledgerId": -1, "entryId": -1, "partitionIndex": -1})
    assert name in done(node, "GET", f"{PATH}/subscriptions", status=200)
    assert backlog(node, name) == [EACH] * PARTITIONS
    assert stats(node)["storageSize"] > 0
    short = done(node, "GET", f"{PATH}/partitioned-stats?perPartition=false", status=200)
    assert short["partitions"] == {} and short["subscriptions"][name]["msgBacklog"] == TOTAL
    inside = done(node, "GET", f"{PATH}/partitioned-internalStats", status=200)
    assert inside["metadata"]["partitions"] == PARTITIONS
    assert [one["numberOfEntries"] for one in inside["partitions"].values()] == [EACH] * PARTITIONS
    done(node, "POST", f"{sub}/skip_all")
    assert backlog(node, name) == [0] * PARTITIONS
    done(node, "POST", f"{sub}/resetcursor/0")
    assert backlog(node, name) == [EACH] * PARTITIONS
    done(node, "POST", f"{sub}/expireMessages/3600")
    assert backlog(node, name) == [EACH] * PARTITIONS, "nothing is so old"
    done(node, "PUT", f"{PATH}/unload")
    assert backlog(node, name) == [EACH] * PARTITIONS
    done(node, "POST", f"{sub}/skip/1", status=405)
    done(node, "DELETE", f"{PATH}/partitions", status=412)
    return name


def a_failure_names_its_partition(cluster, node, name):
    alone = f"{PATH}-partition-3/subscription/{name}"
    done(cluster.owner(partition(3)), "DELETE", alone)
    answer = done(node, "POST", f"{PATH}/subscription/{name}/skip_all", status=404)
    assert partition(3) in answer["reason"], answer
    done(node, "DELETE", f"{PATH}/subscription/{name}")
    done(node, "DELETE", f"{PATH}/subscription/{name}", status=404)


def namespace_calls(node):
    for name in ("first", "second"):
        done(node, "PUT", f"{PATH}/subscription/{name}", {"ledgerId": -1, "entryId": -1, "partitionIndex": -1})
    done(node, "POST", f"/admin/v2/namespaces/{NAMESPACE}/clearBacklog/first")
    assert backlog(node, "first") == [0] * PARTITIONS
    assert backlog(node, "second") == [EACH] * PARTITIONS
    done(node, "POST", f"/admin/v2/namespaces/{NAMESPACE}/clearBacklog")
    assert backlog(node, "second") == [0] * PARTITIONS
    done(node, "PUT", f"/admin/v2/namespaces/{NAMESPACE}/unload")
    # Bundles have just moved, and other nodes may hear of it later than this one.
    assert backlog(node, "second") == [0] * PARTITIONS
    for name in ("first", "second"):
        done(node, "POST", f"/admin/v2/namespaces/{NAMESPACE}/unsubscribe/{name}")
    assert done(node, "GET", f"{PATH}/subscriptions", status=200) == []


def refused_or_whole(node, lost):
    """Seconds until all partitions are answered for; a refusal before that names the node and the remedy."""
    began = time.monotonic()
    while True:
        code, answer = node.ask("GET", f"{PATH}/partitioned-stats")
        if code == 200 and len(answer["partitions"]) == PARTITIONS:
            return round(time.monotonic() - began, 3)
        assert code == 503, (code, answer)
        assert "try again" in answer["reason"], answer
        assert time.monotonic() - began < 30, f"no answer although others could serve what node {lost} did: {answer}"


def terminated(cluster, client):
    """Every partition is ended from any node, and says where it ended; nobody publishes to one any more."""
    asked, ends = cluster.nodes[0], []
    until("all owners answer", lambda: asked.ask("GET", f"{PATH}/partitioned-stats")[0] == 200)
    for node in cluster.nodes:
        ends.append(done(node, "POST", f"{PATH}/terminate/partitions", status=200))
    assert set(ends[0]) == {str(index) for index in range(PARTITIONS)} and ends == ends[:1] * len(ends), ends
    assert all(end["entryId"] >= 0 for end in ends[0].values()), ends[0]
    for index in range(PARTITIONS):
        try:
            client.create_producer(partition(index))
        except pulsar.TopicTerminated:
            continue
        sys.exit(f"{partition(index)} takes a producer after its end")


def main(folder):
    cluster, told = Cluster(folder), {}
    try:
        keep = {"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}
        done(cluster.nodes[0], "POST", f"/admin/v2/namespaces/{NAMESPACE}/retention", keep)
        done(cluster.nodes[0], "PUT", f"{PATH}/partitions", PARTITIONS)
        told["owners"] = spread_out(cluster)
        publish(cluster)
        assert stats(cluster.nodes[0])["msgInCounter"] == TOTAL
        for number, node in enumerate(cluster.nodes):
            name = topic_calls(node, number)
            a_failure_names_its_partition(cluster, node, name)
        for node in cluster.nodes:
            namespace_calls(node)
            spread_out(cluster)
        asked, frozen = cluster.nodes[0], cluster.nodes[1]
        frozen.unwell = True
        frozen.freeze()
        told["frozen_s"] = refused_or_whole(asked, "frozen")
        frozen.thaw()
        frozen.unwell = False
        until("the node is back", lambda: cluster.answered("GET", "/admin/v2/cluster/status")["nodes"][1]["up"])
        spread_out(cluster)
        killed = cluster.nodes[2]
        killed.kill()
        told["killed_s"] = refused_or_whole(asked, "killed")
        killed.start()
        client = cluster.client(operation_timeout_seconds=30)
        reader = client.create_reader(partition(0), pulsar.MessageId.earliest)
        got = [reader.read_next(10000).data().decode() for _ in range(EACH)]
        assert got == [f"0:{number}" for number in range(EACH)]
        terminated(cluster, client)
        client.close()
        until("the deletion is done", lambda: asked.ask("DELETE", f"{PATH}/partitions")[0] in (204, 404))
        for node in cluster.nodes:
            until("the topic is gone", lambda: node.ask("GET", f"{PATH}/partitioned-stats")[0] == 404)
        print(json.dumps(told), flush=True)
    finally:
        cluster.stop()
    with open(os.path.join(folder, "history.json"), "w") as file:
        json.dump(told, file)


main(sys.argv[1])

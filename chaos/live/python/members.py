"""Nodes of a region by their numbers, and how they join: what the scenarios of membership share."""

import json
import os

from cluster import Node, free_ports
from region import run, until

CONFIG, REFUSED = 78, 1


def nodes(cluster):
    """The nodes by their numbers, as a running node shows them."""
    answer = cluster.http("GET", "/admin/v2/cluster/status")
    return {node["id"]: node for node in answer["nodes"]}


def number(cluster, node):
    url = f"pulsar://{node.host}:{node.ports['pulsar']}"
    return next(id for id, shown in nodes(cluster).items() if shown["pulsarUrl"] == url)


def admin(cluster, *words):
    return run("admin", "--admin-url", f"http://{cluster.any().host}:{cluster.any().ports['http']}", *words)


def refused(node, *words):
    """Starts a node that must not start: exit code 78, and every one of the words on standard error."""
    code, out, error = run("server", "--config", node.config)
    assert code == CONFIG and "ready " not in out, (code, out, error)
    for word in words:
        assert word in error, f"'{word}' is missing in: {error}"
    assert "panicked" not in error, error


def passport(data):
    with open(os.path.join(data, "node.json")) as file:
        return json.load(file)


def join(cluster, index, net=None, **changes):
    """A new node on an empty disk, with a `net` on its machine of that index; it is not started."""
    ports = dict(zip(("pulsar", "http", "quic", "peer"), free_ports(4)))
    members = [f"{node.host}:{node.ports['peer']}" for node in cluster.nodes if node.running()]
    config = cluster.config(index, ports, join=members)
    for old, new in changes.items():
        config = config.replace(getattr(cluster, old), new)
    host, before = (net.hosts[index], net.command(index)) if net else ("127.0.0.1", ())
    return Node(cluster.folder, cluster.name, index, ports, config, host, before)


def votes(cluster, id):
    return nodes(cluster).get(id, {}).get("metadata") in ("voter", "leader")


def up(node):
    """Where the nodes that count as up answer HTTP, as this one knows."""
    status, shown = node.ask("GET", "/admin/v2/cluster/status")
    assert status == 200, (status, shown)
    return [one["httpUrl"].removeprefix("http://") for one in shown["nodes"] if one["up"]]


def move(cluster, topic, node):
    """Moves the bundle of a topic to a node, and waits until that node owns it."""
    namespace = topic.split("://")[1].rsplit("/", 1)[0]
    bundle = cluster.http("GET", f"/lookup/v2/topic/{topic.replace('://', '/')}/bundle")
    owner, target = cluster.owner(topic), f"{node.host}:{node.ports['http']}"
    if owner is node:
        return
    until("the target counts as up where it is asked", lambda: target in up(owner))
    status, answer = owner.ask("PUT", f"/admin/v2/namespaces/{namespace}/{bundle}/unload?destinationBroker={target}")
    assert status == 204, (status, answer)
    until("the bundle has moved", lambda: cluster.owner(topic) is node)

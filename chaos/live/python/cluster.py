"""A region of several real processes: formed, killed, frozen and started again node by node."""

import os
import signal
import subprocess

import pulsar
from region import BINARY, QUIET, Region, first_line, free_ports, parse, run, until


class Node(Region):
    """One server of a cluster, with a configuration file of its own."""

    def __init__(self, folder, name, index, ports, config, host, before=()):
        self.name, self.index, self.host, self.before = name, index, host, list(before)
        self.unwell = False
        self.folder = os.path.join(folder, f"{name}-{index}")
        self.logs = self.folder
        self.flags, self.token, self.process = [], None, None
        self.ports = ports
        os.makedirs(self.folder, exist_ok=True)
        self.config = os.path.join(self.folder, "node.toml")
        with open(self.config, "w") as file:
            file.write(config)

    def launch(self):
        """Starts the process and does not wait for it."""
        self.log = open(os.path.join(self.logs, "server.log"), "ab")
        self.process = subprocess.Popen([*self.before, BINARY, "server", "--config", self.config], stdout=subprocess.PIPE,
                                        stderr=self.log)

    def ready(self):
        line = first_line(self.process)
        assert line.startswith("ready "), f"{self.name}-{self.index} did not start: {line!r}; see {self.log.name}"

    def start(self):
        self.launch()
        self.ready()

    def running(self):
        return self.process is not None and self.process.poll() is None


class Cluster:
    """A region of `count` nodes that found it together; with a `net` of `count` machines, each on one of its own."""

    def __init__(self, folder, name="east", count=3, number=1, extra="", net=None):
        self.name, self.extra = name, extra
        identity = os.path.join(folder, f"{name}-identity")
        code, _, said = run("identity", "create", "--region", name, "--out", identity)
        assert code == 0, said
        self.folder, self.identity, self.number = folder, identity, number
        ports = iter(free_ports(4 * count))
        plans = [dict(zip(("pulsar", "http", "quic", "peer"), ports)) for _ in range(count)]
        self.hosts = net.hosts if net else ["127.0.0.1"] * count
        self.founders = [f"{host}:{plan['peer']}" for host, plan in zip(self.hosts, plans)]
        self.nodes = [Node(folder, name, i, plan, self.config(i, plan), self.hosts[i], net.command(i) if net else ())
                      for i, plan in enumerate(plans)]
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.ready()

    def config(self, index, ports, founders=None, join=None):
        data = os.path.join(self.folder, f"{self.name}-{index}", "data")
        others = f"join = {list_of(join)}" if join else f"founders = {list_of(founders or self.founders)}"
        host = self.hosts[index] if index < len(self.hosts) else "127.0.0.1"
        return f"""[server]
data = "{data}"
bind = "{host}"
insecure = {"false" if host == "127.0.0.1" else "true"}
region = "{self.name}"
region_number = {self.number}
pulsar_port = {ports['pulsar']}
http_port = {ports['http']}
quic_port = {ports['quic']}

[node]
{others}
peer_port = {ports['peer']}
identity = "{self.identity}"
{self.extra}
"""

    def url(self):
        return "pulsar://" + ",".join(f"{node.host}:{node.ports['pulsar']}" for node in self.nodes)

    def client(self, **options):
        return pulsar.Client(self.url(), logger=QUIET, **options)

    def any(self):
        """A node that runs and that no test has frozen or cut off."""
        return next(node for node in self.nodes if node.running() and not node.unwell)

    def http(self, method, path, body=None):
        return self.any().http(method, path, body)

    def owner(self, topic):
        """The node that owns a topic, as the lookup of a running node says."""
        answer = self.answered("GET", "/lookup/v2/topic/" + topic.replace("://", "/"))
        return self.by_url(answer["brokerUrl"])

    def by_url(self, url):
        host, port = url.split("//", 1)[1].rsplit(":", 1)
        ports = lambda node: (node.ports["pulsar"], node.ports["http"])
        return next(node for node in self.nodes if node.host == host and int(port) in ports(node))

    def leader(self):
        """The node that leads the metadata."""
        return self.by_url(self.answered("GET", "/admin/v2/brokers/leaderBroker")["serviceUrl"])

    def answered(self, method, path):
        """The answer of a running node, which may have to wait for a leader or a takeover (503)."""
        found = []

        def answers():
            status, answer = self.any().ask(method, path)
            assert status in (200, 503), (status, answer)
            found.append(answer)
            return status == 200

        until(f"{method} {path} is answered", answers)
        return found[-1]

    def stop(self):
        for node in self.nodes:
            if node.running():
                node.process.send_signal(signal.SIGCONT)
                node.process.terminate()
        for node in self.nodes:
            if node.process is not None:
                node.process.wait(timeout=15)


def list_of(addresses):
    return "[" + ", ".join(f'"{address}"' for address in addresses) + "]"


__all__ = ["Cluster", "Node", "free_ports", "parse"]

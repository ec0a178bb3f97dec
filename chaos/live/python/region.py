"""A real server process under test: started, killed, frozen, asked over HTTP."""

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pulsar
from wire import Raw

BINARY = os.environ["MERIDIAN_BIN"]
QUIET = pulsar.ConsoleLogger(pulsar.LoggerLevel.Error)


class Region:
    """One server. It keeps its ports over restarts, so that clients find it again."""

    host = "127.0.0.1"

    def __init__(self, folder, name="standalone", *flags, logs=None):
        self.name, self.folder, self.flags = name, os.path.join(folder, name), list(flags)
        self.logs = logs or self.folder
        self.ports = dict(zip(("pulsar", "http", "quic"), free_ports(3)))
        self.token = None
        self.start()

    def start(self):
        command = [BINARY, "server", "--data", self.folder, "--region", self.name, *self.flags]
        for port, number in self.ports.items():
            command += [f"--{port}-port", str(number)]
        os.makedirs(self.folder, exist_ok=True)
        self.log = open(os.path.join(self.logs, "server.log"), "ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log)
        line = first_line(self.process)
        assert line.startswith("ready "), f"{self.name} did not start: {line!r}; see {self.log.name}"
        told = dict(part.split("=", 1) for part in line.split()[1:])
        self.ports = {port: int(told[port].rsplit(":", 1)[1]) for port in self.ports}

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        """Stops the server and its watchdog: as if the whole machine stood still."""
        for pid in (*self.watchdogs(), self.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in (*self.watchdogs(), self.process.pid):
            os.kill(pid, signal.SIGCONT)

    def watchdogs(self):
        """The processes that the server has started."""
        return [int(pid) for pid in open(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read().split()]

    def stop(self):
        self.process.terminate()
        code = self.process.wait(timeout=10)
        assert code == 0, f"{self.name} ended with {code} on SIGTERM"

    def client(self, **options):
        return pulsar.Client(f"pulsar://{self.host}:{self.ports['pulsar']}", logger=QUIET, **options)

    def http(self, method, path, body=None, token=None):
        """The answer's JSON; an error answer raises with its text."""
        status, answer = self.ask(method, path, body, token)
        assert status < 400, f"{method} {path}: {status} {answer}"
        return answer

    def ask(self, method, path, body=None, token=None):
        """Status and JSON (or text) of any answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if token or self.token:
            headers["Authorization"] = f"Bearer {token or self.token}"
        url = f"http://{self.host}:{self.ports['http']}{path}"
        request = urllib.request.Request(url, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, parse(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, parse(error.read())

    def stats(self, topic):
        return self.http("GET", "/admin/v2/" + topic.replace("://", "/") + "/stats")

    def raw(self, **options):
        """A connection that is written by hand."""
        return Raw(self.ports["pulsar"], **options)

    def memory(self):
        """Resident bytes of the server."""
        with open(f"/proc/{self.process.pid}/status") as status:
            line = next(line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def logged(self):
        with open(self.log.name, errors="replace") as log:
            return log.read()


def free_ports(count):
    """Ports that nobody listens on now; they are held until all are found, so that none is given twice. They are not of those
    that the system gives to clients: such a one could be taken while its server is down."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first, last = map(int, file.read().split())
    ports = range(10_000, 65_536)
    ports = [port for port in ports if not first <= port <= last] or ports
    held = []
    while len(held) < count:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", random.choice(ports)))
        except OSError:
            one.close()
        else:
            held.append(one)
    found = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return found


def first_line(process, seconds=60):
    """What a server says when it answers; nothing when it has ended, or is not ready in time."""
    came, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline().decode() if came else ""


def parse(text):
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")


def run(*words, stdin=None):
    """One command of the program: exit code, standard output, standard error."""
    done = subprocess.run([BINARY, *words], input=stdin, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def joined(folder, *flags):
    """Two regions that know each other; namespace acme/orders lives in both."""
    regions = {name: Region(folder, name, "--region-number", str(number), *flags)
               for name, number in (("east", 1), ("west", 2))}
    records = {name: region.http("GET", f"/admin/v2/clusters/{name}") for name, region in regions.items()}
    for name, region in regions.items():
        for other in regions.keys() - {name}:
            region.http("PUT", f"/admin/v2/clusters/{other}", records[other])
        region.http("PUT", "/admin/v2/tenants/acme", {"adminRoles": [], "allowedClusters": list(regions)})
        region.http("PUT", "/admin/v2/namespaces/acme/orders", {"replication_clusters": list(regions)})
    return regions


def until(what, condition, seconds=30):
    """Waits for a condition; the test fails when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    sys.exit(f"not within {seconds} s: {what}")


def drain(client, topic, count, seconds=60):
    """Every message of a topic from the earliest on, by a fresh subscription; reads on a moment for what must not come."""
    consumer = client.subscribe(topic, f"drain-{time.time_ns()}", initial_position=pulsar.InitialPosition.Earliest)
    got, deadline = [], time.monotonic() + seconds
    while len(got) < count and time.monotonic() < deadline:
        try:
            got.append(consumer.receive(1000).data().decode())
        except pulsar.Timeout:
            continue
    try:
        while True:
            got.append(consumer.receive(300).data().decode())
    except pulsar.Timeout:
        pass
    consumer.close()
    return got

"""Ten thousand connections that say nothing, to both ports: closed in time, bounded in memory, and others go on."""

import resource
import socket
import sys
import threading
import time

from region import Region, until
from wire import Raw, command, frame, readable

COUNT = 10_000
HANDSHAKE_S = 10
TOPIC = "persistent://public/default/calm"
# What they say before they fall silent.
SILENCES = {
    "pulsar": [b"", b"\x00", frame(command("connect", client_version="raw"))[:9], frame(command("ping"))],
    "http": [b"", b"G", b"GET /admin/v2/clusters HTTP/1.1\r\nHost: x\r\n",
             b"PUT /admin/v2/tenants/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"],
}


def open_silent(port, silences, count):
    """Connections that each said the beginning of something."""
    held = []
    for at in range(count):
        one = socket.socket()
        one.settimeout(30)
        one.connect(("127.0.0.1", port))
        try:
            one.sendall(silences[at % len(silences)])
        except OSError:
            pass  # Refused beyond the limit: that is an answer, too.
        held.append(one)
    return held


def wait_closed(held, seconds):
    """Until the server has closed all of them, whatever it said before."""
    left, deadline = list(held), time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        for one in readable(left, 1):
            try:
                gone = not one.recv(4096)
            except OSError:
                gone = True
            if gone:
                one.close()
                left.remove(one)
    return len(left)


class Publisher(threading.Thread):
    """Somebody else, who must not notice."""

    def __init__(self, region):
        super().__init__(daemon=True)
        self.client = region.client()
        self.producer = self.client.create_producer(TOPIC)
        self.ended, self.sent, self.slowest, self.failure = threading.Event(), 0, 0.0, None

    def run(self):
        try:
            while not self.ended.is_set():
                began = time.monotonic()
                self.producer.send(b"x" * 100)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.sent += 1
        except Exception as error:  # Told by the main thread.
            self.failure = error

    def end(self):
        self.ended.set()
        self.join()
        self.client.close()
        assert self.failure is None, self.failure
        return self.sent, self.slowest


def connections(region):
    text = region.http("GET", "/metrics")
    return float(next(line for line in text.splitlines() if line.startswith("pulsar_active_connections")).split()[1])


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard >= COUNT + 1000, f"the limit of open files is {hard}: raise it to {COUNT + 1000}"
    region = Region(sys.argv[1])
    publisher = Publisher(region)
    publisher.start()
    before = region.memory()
    peak = before
    for port, silences in SILENCES.items():
        count = COUNT if port == "pulsar" else COUNT // 10
        began = time.monotonic()
        held = open_silent(region.ports[port], silences, count)
        opened = time.monotonic()
        peak = max(peak, region.memory())
        # A newcomer is served while they are there.
        with Raw(region.ports["pulsar"]) as connection:
            connection.log_in()
            assert connection.is_alive()
        assert region.http("GET", "/admin/v2/brokers/health") == "ok"
        left = wait_closed(held, HANDSHAKE_S + 10)
        peak = max(peak, region.memory())
        print(f"{port}: {count} opened in {opened - began:.1f} s, {left} left after {time.monotonic() - opened:.1f} s,"
              f" peak {peak >> 20} MiB", flush=True)
        assert left == 0, f"{left} of {count} silent connections to {port} were never closed"
    assert peak - before < 256 << 20, f"silent connections took {(peak - before) >> 20} MiB"
    until("only the publisher is connected", lambda: connections(region) <= 1)
    sent, slowest = publisher.end()
    print(f"others sent {sent}, slowest {slowest:.2f} s", flush=True)
    assert sent > 100 and slowest < 5, (sent, slowest)
    region.stop()


main()

"""A disk that fills up: publishing is refused and says so, nothing acknowledged is lost, and freed space brings it back."""

import os
import subprocess
import sys
import time

import pulsar

import disks
from region import Region, until
from wire import PERSISTENCE_ERROR, SERVICE_NOT_READY, payload

DISK, BALLAST, PIECE = 640 << 20, 200 << 20, 512 * 1024
TOPIC, SMALL = "persistent://public/default/full", "persistent://public/default/small"
PROPERTIES = "/admin/v2/namespaces/public/default/properties"


def fill(producer):
    """Publishes until publishing is refused: what was acknowledged, and how it was refused."""
    acknowledged = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = f"{len(acknowledged)}:".encode()
        try:
            producer.send(text + os.urandom(PIECE - len(text)))
        except pulsar.PulsarException as error:
            return acknowledged, error
        acknowledged.append(text)
    raise AssertionError("the disk never filled up")


def check_words(region):
    """What the protocol says: an error that clients try again after, in words that name the cause."""
    with region.raw() as connection:
        connection.log_in()
        name, answer = connection.ask("producer", topic=SMALL, producer_id=1)
        if name == "producer_success":
            connection.send("send", payload=payload("x" * 100_000), producer_id=1, sequence_id=0)
            name, answer = next((n, a) for n, a in iter(connection.receive, None) if n in ("send_error", "send_receipt"))
        assert name in ("error", "send_error") and answer["error"] in (PERSISTENCE_ERROR, SERVICE_NOT_READY), (name, answer)
        assert "disk" in answer["message"] or "space" in answer["message"], answer


def main():
    disks.enter_own_mounts()
    disk = os.path.join(sys.argv[1], "disk")
    os.makedirs(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", disk], check=True)
    ballast = os.path.join(disk, "ballast")
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, BALLAST)
    region = Region(disk, logs=sys.argv[1])
    client = region.client(operation_timeout_seconds=5)
    options = {"batching_enabled": False, "send_timeout_millis": 5000}
    consumer = client.subscribe(TOPIC, "s", receiver_queue_size=10)
    late = client.subscribe(SMALL, "s")
    small = client.create_producer(SMALL, **options)
    small.send(b"before")
    acknowledged, refusal = fill(client.create_producer(TOPIC, **options))
    print(f"{len(acknowledged) * PIECE >> 20} MiB, then: {refusal}", flush=True)
    assert len(acknowledged) * PIECE > 50 << 20, len(acknowledged)
    assert region.process.poll() is None, "the server ended because its disk is full"
    assert region.http("GET", "/admin/v2/brokers/health") == "ok"
    assert "disk of this region is nearly full" in region.logged(), region.logged()
    check_words(region)
    # Reading goes on, and an honest no for who creates something.
    assert late.receive(10000).data() == b"before"
    status, answer = region.ask("PUT", "/admin/v2/namespaces/public/while-full")
    assert status == 204 or (status in (500, 503, 507) and answer["reason"]), (status, answer)
    # A restart on the full disk keeps what was acknowledged, also when not a byte is free and the metadata takes nothing more.
    disks.fill(crumbs := os.path.join(disk, "crumbs"))
    for size in (60_000, 1000, 1):
        until("the metadata takes nothing more", lambda: region.ask("PUT", PROPERTIES, {"filler": "x" * size})[0] == 503)
    region.kill()
    disks.fill(more := os.path.join(disk, "more-crumbs"))
    region.start()
    for path in (crumbs, more):
        os.unlink(path)
    first = consumer.receive(20000)
    assert first.data().startswith(b"0:"), first.data()[:10]
    # Space comes back: publishing does, without a restart.
    os.unlink(ballast)

    def publishes():
        try:
            small.send(b"after")
            return True
        except pulsar.PulsarException:
            return False

    until("publishing after space was freed", publishes)
    consumer.acknowledge(first)
    # What the client held when the server was killed may come twice.
    missing = set(acknowledged) - {first.data().split(b":")[0] + b":"}
    while missing:
        message = consumer.receive(20000)
        missing.discard(message.data().split(b":")[0] + b":")
        consumer.acknowledge(message)
    client.close()
    region.stop()


main()

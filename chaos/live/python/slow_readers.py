"""Consumers that take nothing while 200 MB are published: bounded memory, nobody else waits, and they lose their places."""

import sys
import threading
import time

import pulsar
from region import Region, until
from wire import Raw

TOPIC = "persistent://public/default/flood"
SLOW, PIECE, TOTAL = 20, 256 * 1024, 200 << 20
KEEP_ALIVE_S = 2


def slow_reader(region, at):
    """Asks for everything and reads nothing; every second one shares a subscription, the others have their own."""
    connection = Raw(region.ports["pulsar"])
    connection.log_in()
    shared = at % 2 == 0
    name, answer = connection.ask("subscribe", topic=TOPIC, subscription="shared" if shared else f"own-{at}",
                                  type=1 if shared else 0, consumer_id=1, initial_position=1)
    assert name == "success", (at, answer)
    connection.send("flow", consumer_id=1, permits=1_000_000)
    return connection


def questioner(region):
    """Asks without end and never reads an answer."""
    connection = Raw(region.ports["pulsar"])
    connection.log_in()
    connection.socket.settimeout(1)
    try:
        for request in range(1 << 20):
            connection.send("lookup", topic=TOPIC, request_id=request)
    except Exception:
        return connection  # The server stopped reading or closed: either bounds what waits.
    raise AssertionError("a million answers were queued for somebody who reads none")


def publish(producer, count):
    failed = []

    def answered(result, _):
        if result != pulsar.Result.Ok:
            failed.append(result)

    for _ in range(count):
        producer.send_async(b"x" * PIECE, answered)
    producer.flush()
    assert not failed, failed[:3]


def main():
    config = f"{sys.argv[1]}/keep.toml"
    with open(config, "w") as file:
        file.write(f"[server]\nkeep_alive_interval_seconds = {KEEP_ALIVE_S}\n")
    region = Region(sys.argv[1], "standalone", "--config", config)
    slow = [slow_reader(region, at) for at in range(SLOW)]
    client = region.client()
    consumer = client.subscribe(TOPIC, "good", receiver_queue_size=100)
    producer = client.create_producer(TOPIC, batching_enabled=False, max_pending_messages=16, block_if_queue_full=True,
                                      send_timeout_millis=0)
    publish(producer, 16)
    before = region.memory()
    peak, ended = [before], threading.Event()

    def watch():
        while not ended.wait(0.05):
            peak[0] = max(peak[0], region.memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.monotonic()
    sender = threading.Thread(target=publish, args=(producer, TOTAL // PIECE - 16))
    sender.start()
    for _ in range(TOTAL // PIECE):
        consumer.acknowledge(consumer.receive(20000))
    sender.join()
    took = time.monotonic() - began
    asking = questioner(region)
    ended.set()
    watcher.join()
    print(f"200 MB past {SLOW} slow readers in {took:.1f} s, {before >> 20} MiB before, {peak[0] >> 20} MiB at most", flush=True)
    assert peak[0] < 640 << 20, f"{peak[0] >> 20} MiB for readers that take nothing"
    # Who answers no ping is dead: its exclusive subscription is free for somebody else, with all that it holds.
    until("slow readers dropped", lambda: places(region) == {"good": 1}, seconds=6 * KEEP_ALIVE_S + 10)
    heir = client.subscribe(TOPIC, "own-1", receiver_queue_size=10)
    assert len(heir.receive(10000).data()) == PIECE
    client.close()
    for connection in [*slow, asking]:
        connection.socket.close()
    region.stop()


def places(region):
    """Consumers of each subscription that has some."""
    subscriptions = region.stats(TOPIC)["subscriptions"]
    return {name: len(own["consumers"]) for name, own in subscriptions.items() if own["consumers"]}


main()

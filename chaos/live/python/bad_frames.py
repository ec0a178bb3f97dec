"""Bytes, frames and commands that no honest client sends: each costs at most its own connection."""

import os
import random
import socket
import struct
import sys

import pulsar
from region import Region, until
from wire import (CHECKSUM_ERROR, INVALID_TOPIC_NAME, NOT_ALLOWED, PRODUCER_BUSY, SERVICE_NOT_READY, TOPIC_NOT_FOUND,
                  UNKNOWN_ERROR, UNSOLICITED, Closed, command, frame, payload, varint)

TOPIC = "persistent://public/default/bad"
MESSAGE_BYTES_MAX = 5 * 1024 * 1024


def connect():
    return command("connect", client_version="raw", protocol_version=21)


def malformed():
    """What is no frame, and whether it is still none after the handshake."""
    rng = random.Random(7)
    ping = command("ping")
    return {
        "zeros": (bytes(4096), True),
        "ones": (b"\xff" * 4096, True),
        "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b" " * 64, True),
        "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(512), True),
        "huge total": (struct.pack(">II", 0xFFFFFFFF, 4) + b"x" * 64, True),
        "total over the limit": (struct.pack(">II", MESSAGE_BYTES_MAX + 200_000, len(ping)) + ping, True),
        "before the handshake over its limit": (struct.pack(">II", 20_000, len(ping)) + ping, False),
        "huge command": (struct.pack(">II", 64, 0xFFFFFFFF) + b"x" * 64, True),
        "command larger than its frame": (struct.pack(">II", 8, 5) + b"x" * 64, True),
        "command over its limit": (struct.pack(">II", 2_500_004, 2_500_000) + b"x" * 64, True),
        "total smaller than a size": (struct.pack(">II", 3, 0) + b"x" * 64, True),
        "no command": (struct.pack(">II", 4, 0), True),
        "no protobuf": (frame(b"\xff" * 32), True),
        "a field cut short": (frame(command("producer", topic=TOPIC, producer_id=1, request_id=1)[:-3]), True),
        "endless varint": (frame(b"\x08" + b"\x80" * 64), True),
        "nested too deep": (frame(b"\x08\x02" + b"\x12\x7e" * 200), True),
    } | {f"random {i}": (struct.pack(">II", 132, 128) + rng.randbytes(128), True) for i in range(20)}


def check_malformed(region):
    for name, (data, also_later) in malformed().items():
        for logged_in in (False, True) if also_later else (False,):
            with region.raw() as connection:
                if logged_in:
                    connection.log_in()
                try:
                    connection.raw(data)
                    if name.startswith("random"):
                        connection.socket.shutdown(socket.SHUT_WR)
                    got = connection.wait_closed()
                except Closed:
                    got = []
                except AssertionError as error:
                    raise AssertionError(f"{name}, logged in: {logged_in}: {error}") from error
                # Random bytes may name a command that is only unknown: the connection then stays for more.
                assert all(kind == "error" for kind, _ in got) and len(got) <= 1, (name, logged_in, got)
                for _, answer in got:
                    assert answer["request_id"] == UNSOLICITED and answer["message"], (name, answer)


def check_cut_short(region):
    """A frame cut short and the connection closed: nothing of it is taken."""
    whole = frame(command("producer", topic=TOPIC + "-cut", producer_id=1, request_id=1))
    for size in range(1, len(whole)):
        with region.raw() as connection:
            connection.log_in()
            connection.raw(whole[:size])
    names = region.http("GET", "/admin/v2/persistent/public/default")
    assert TOPIC + "-cut" not in names, names
    # And one byte at a time it is still a frame.
    with region.raw() as connection:
        for byte in frame(connect()):
            connection.raw(bytes([byte]))
        assert connection.receive()[0] == "connected"


def check_unknown_commands(region):
    with region.raw() as connection:
        connection.log_in()
        for kind in (1, 44, 49, 82, 999, 1 << 31):
            connection.raw(frame(varint(1 << 3) + varint(kind)))
            name, answer = connection.receive()
            assert (name, answer["error"]) == ("error", NOT_ALLOWED), (kind, name, answer)
            assert connection.is_alive(), kind
        for kind in ("connected", "success", "send_receipt", "producer_success", "pong"):
            values = {"server_version": "x"} if kind == "connected" else {} if kind == "pong" else {"request_id": 1}
            values |= {"producer_name": "x"} if kind == "producer_success" else {}
            values = {"producer_id": 1, "sequence_id": 1} if kind == "send_receipt" else values
            connection.send(kind, **values)
            assert connection.is_alive(), kind
        connection.send("connect", client_version="raw", protocol_version=21)
        assert [a["error"] for n, a in connection.wait_closed() if n == "error"][-1] == NOT_ALLOWED


def check_checksums(region):
    with region.raw() as connection:
        connection.log_in()
        name, answer = connection.ask("producer", topic=TOPIC, producer_id=1)
        assert name == "producer_success", answer
        connection.send("send", payload=payload("bad", 0, checksum=1), producer_id=1, sequence_id=0)
        error = connection.wait_for("send_error")
        assert (error["error"], error["sequence_id"]) == (CHECKSUM_ERROR, 0), error
        for sequence, data in enumerate((b"", b"\x0e\x01", b"\x0e\x01\x00\x00\x00\x00\xff\xff\xff\xff", b"\xff" * 16), 1):
            connection.send("send", payload=data, producer_id=1, sequence_id=sequence)
            error = connection.wait_for("send_error")
            assert error["message"], (data, error)
        connection.send("send", payload=payload("good", 9), producer_id=1, sequence_id=9)
        receipt = connection.wait_for("send_receipt")
        assert receipt["sequence_id"] == 9, receipt


def check_names(region):
    long = "x" * 5000
    names = {
        "": INVALID_TOPIC_NAME,
        "persistent://": INVALID_TOPIC_NAME,
        "persistent://public": INVALID_TOPIC_NAME,
        "persistent://public/default": INVALID_TOPIC_NAME,
        "persistent://public/default/": INVALID_TOPIC_NAME,
        "persistent://public//t": INVALID_TOPIC_NAME,
        "other://public/default/t": INVALID_TOPIC_NAME,
        "persistent://pub lic/default/t": INVALID_TOPIC_NAME,
        "persistent://public/de?fault/t": INVALID_TOPIC_NAME,
        "persistent://public/../t": INVALID_TOPIC_NAME,
        "persistent://public/default/a\nb": INVALID_TOPIC_NAME,
        "persistent://public/default/" + long: INVALID_TOPIC_NAME,
        f"persistent://public/{long}/t": INVALID_TOPIC_NAME,
        "public/t": INVALID_TOPIC_NAME,
        "persistent://nobody/default/t": TOPIC_NOT_FOUND,
        "persistent://public/nothing/t": TOPIC_NOT_FOUND,
        "non-persistent://public/default/t": NOT_ALLOWED,
    }
    with region.raw() as connection:
        connection.log_in()
        for name, code in names.items():
            requests = [("producer", {"topic": name, "producer_id": 1}), ("lookup", {"topic": name}),
                        ("partitions", {"topic": name}),
                        ("subscribe", {"topic": name, "subscription": "s", "type": 1, "consumer_id": 1})]
            for kind, values in requests:
                _, answer = connection.ask(kind, **values)
                assert answer["error"] == code, (kind, name[:60], answer)
                assert len(answer.get("message", "")) < 2000, (kind, name[:60])
        for subscription in ("", "x" * 300, "a\x00b", "pulsar.repl.east", "pulsar.dedup"):
            _, answer = connection.ask("subscribe", topic=TOPIC, subscription=subscription, type=1, consumer_id=1)
            assert answer["error"] == PRODUCER_BUSY, (subscription[:20], answer)
        # Bytes that are no UTF-8 are no names; a frame with them may end the connection.
        name, answer = connection.ask("lookup", topic=b"persistent://public/default/\xff\xfe")
        assert name == "error" or answer.get("error") == INVALID_TOPIC_NAME, (name, answer)


def check_permits(region):
    """Permits beyond any sense end the connection with a reason; what was asked for before is not delivered twice."""
    for permits in ([0xFFFFFFFF], [0x7FFFFFFF, 1], [0x40000000] * 4):
        with region.raw() as connection:
            connection.log_in()
            name, answer = connection.ask("subscribe", topic=TOPIC, subscription="permits", type=1, consumer_id=1)
            assert name == "success", answer
            for count in permits:
                connection.send("flow", consumer_id=1, permits=count)
            got = connection.wait_closed()
            assert [n for n, _ in got if n == "error"] == ["error"], (permits, got)
            assert "permits" in got[-1][1]["message"], got[-1]
    with region.raw() as connection:
        connection.log_in()
        connection.ask("subscribe", topic=TOPIC, subscription="zero", type=1, consumer_id=1)
        for _ in range(1000):
            connection.send("flow", consumer_id=1, permits=0)
        assert connection.is_alive()


def check_acks(region):
    """Acknowledgements of what is not there, or was given to another, move nothing else."""
    client = region.client()
    topic = TOPIC + "-acks"
    consumer = client.subscribe(topic, "s", consumer_type=pulsar.ConsumerType.Shared)
    producer = client.create_producer(topic, batching_enabled=False)
    ids = [producer.send(str(i).encode()) for i in range(10)]
    here = {"ledger": ids[-1].ledger_id(), "entry": ids[-1].entry_id()}
    unknown = [
        {"ledger": 0, "entry": 0}, {"ledger": UNSOLICITED, "entry": UNSOLICITED},
        {"ledger": 1 << 62, "entry": 1 << 62}, {**here, "entry": 10_000},
        {**here, "ledger": here["ledger"] + 1}, {**here, "partition": 99}, {**here, "entry": UNSOLICITED},
    ]
    with region.raw() as connection:
        connection.log_in()
        name, _ = connection.ask("subscribe", topic=topic, subscription="raw", type=1, consumer_id=1, initial_position=1)
        assert name == "success"
        for at, message_id in enumerate(unknown):
            for kind in (0, 1):
                connection.send("ack", consumer_id=1, type=kind, message_id=message_id, request_id=100 + at)
                answer = connection.wait_for("ack_response")
                assert answer["request_id"] == 100 + at, (message_id, answer)
        connection.send("ack", consumer_id=1, type=0, message_id=[unknown[3]] * 1000)
        connection.send("ack", consumer_id=1, type=77, message_id=here)
        connection.send("ack", consumer_id=1, type=0)
        connection.send("redeliver", consumer_id=1, message_ids=unknown)
        connection.send("seek", consumer_id=1, request_id=1)
    stats = region.stats(topic)["subscriptions"]
    assert stats["s"]["msgBacklog"] == 10, stats["s"]
    got = {consumer.receive(10000).data() for _ in range(10)}
    assert got == {str(i).encode() for i in range(10)}, got
    with region.raw() as connection:
        connection.log_in()
        name, _ = connection.ask("subscribe", topic=topic, subscription="raw", type=1, consumer_id=1)
        connection.send("flow", consumer_id=1, permits=100)
        assert connection.wait_for("message")["message_id"]["ledger"] == here["ledger"]
    client.close()


def check_ids(region):
    """One id used twice on one connection, one name on two; ids at the ends of their range."""
    with region.raw() as connection, region.raw() as other:
        connection.log_in()
        other.log_in()
        for producer_id in (0, 1, UNSOLICITED):
            name, answer = connection.ask("producer", topic=TOPIC, producer_id=producer_id)
            assert name == "producer_success", (producer_id, answer)
        first = connection.ask("producer", topic=TOPIC, producer_id=5, producer_name="mine")
        assert first[0] == "producer_success", first
        again = connection.ask("producer", topic=TOPIC, producer_id=5, producer_name="mine")
        assert again[0] == "producer_success", f"the same producer again is the same producer: {again}"
        _, answer = connection.ask("producer", topic=TOPIC + "-2", producer_id=5)
        assert answer.get("error") == SERVICE_NOT_READY, answer
        # The holder of the name answers the probe only when it reads: it is asked while the other waits.
        other.send("producer", topic=TOPIC, producer_id=1, producer_name="mine", request_id=1)
        assert connection.is_alive()
        name, answer = other.receive()
        assert (name, answer["error"]) == ("error", PRODUCER_BUSY), (name, answer)
        for _ in range(2):
            name, answer = connection.ask("subscribe", topic=TOPIC, subscription="ids", type=1, consumer_id=5)
            assert name == "success", f"the same consumer again is the same consumer: {answer}"
        _, answer = connection.ask("subscribe", topic=TOPIC, subscription="other", type=1, consumer_id=5)
        assert answer.get("error") == SERVICE_NOT_READY, answer
        connection.send("send", payload=payload("x"), producer_id=77, sequence_id=0)
        closing = connection.wait_closed()
        assert closing[-1][1]["error"] == UNKNOWN_ERROR and "77" in closing[-1][1]["message"], closing


def main():
    region = Region(sys.argv[1])
    client = region.client()
    producer, consumer = client.create_producer(TOPIC + "-good"), client.subscribe(TOPIC + "-good", "s")
    before = region.memory()
    for check in (check_malformed, check_cut_short, check_unknown_commands, check_checksums, check_names, check_permits,
                  check_acks, check_ids):
        check(region)
        producer.send(check.__name__.encode())
        assert consumer.receive(10000).data() == check.__name__.encode()
    grown = region.memory() - before
    assert grown < 64 << 20, f"bad input left {grown >> 20} MiB behind"
    until("connections of the checks closed", lambda: connections(region) <= 2)
    client.close()
    region.stop()
    assert "panicked" not in region.logged(), region.logged()


def connections(region):
    text = region.http("GET", "/metrics")
    return float(next(line for line in text.splitlines() if line.startswith("pulsar_active_connections")).split()[1])


main()
os._exit(0)

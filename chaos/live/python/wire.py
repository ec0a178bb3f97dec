"""The Pulsar protocol by hand: frames, protobuf fields, one socket. It says what no client library would say."""

import select
import socket
import struct
import time

NUMBER, BYTES, LIST = "number", "bytes", "list"

# command: its type (which is also its field), and its fields: name -> (number, kind or nested fields)
MESSAGE_ID = {"ledger": (1, NUMBER), "entry": (2, NUMBER), "partition": (3, NUMBER), "batch_index": (4, NUMBER)}
SCHEMA = {"name": (1, BYTES), "data": (3, BYTES), "type": (4, NUMBER)}
AUTH = {"method": (1, BYTES), "data": (2, BYTES)}
FAILED = {"error": (2, NUMBER), "message": (3, BYTES)}
REQUEST = {"request_id": (1, NUMBER)}
TXN = {**REQUEST, "least": (2, NUMBER), "most": (3, NUMBER)}
COMMANDS = {
    "connect": (2, {"client_version": (1, BYTES), "method": (5, BYTES), "data": (3, BYTES), "protocol_version": (4, NUMBER),
                    "proxy_to": (6, BYTES), "original_principal": (7, BYTES),
                    "features": (10, {"auth_refresh": (1, NUMBER)})}),
    "connected": (3, {"server_version": (1, BYTES), "protocol_version": (2, NUMBER), "max_message_size": (3, NUMBER)}),
    "subscribe": (4, {"topic": (1, BYTES), "subscription": (2, BYTES), "type": (3, NUMBER), "consumer_id": (4, NUMBER),
                      "request_id": (5, NUMBER), "durable": (8, NUMBER), "initial_position": (13, NUMBER)}),
    "producer": (5, {"topic": (1, BYTES), "producer_id": (2, NUMBER), "request_id": (3, NUMBER), "producer_name": (4, BYTES),
                     "epoch": (8, NUMBER), "initial_subscription": (13, BYTES)}),
    "send": (6, {"producer_id": (1, NUMBER), "sequence_id": (2, NUMBER), "num_messages": (3, NUMBER)}),
    "send_receipt": (7, {"producer_id": (1, NUMBER), "sequence_id": (2, NUMBER), "message_id": (3, MESSAGE_ID)}),
    "send_error": (8, {"producer_id": (1, NUMBER), "sequence_id": (2, NUMBER), "error": (3, NUMBER), "message": (4, BYTES)}),
    "message": (9, {"consumer_id": (1, NUMBER), "message_id": (2, MESSAGE_ID), "redelivery_count": (3, NUMBER)}),
    "ack": (10, {"consumer_id": (1, NUMBER), "type": (2, NUMBER), "message_id": (3, MESSAGE_ID), "request_id": (8, NUMBER)}),
    "flow": (11, {"consumer_id": (1, NUMBER), "permits": (2, NUMBER)}),
    "unsubscribe": (12, {"consumer_id": (1, NUMBER), "request_id": (2, NUMBER)}),
    "success": (13, REQUEST),
    "error": (14, {**REQUEST, **FAILED}),
    "close_producer": (15, {"producer_id": (1, NUMBER), "request_id": (2, NUMBER)}),
    "close_consumer": (16, {"consumer_id": (1, NUMBER), "request_id": (2, NUMBER)}),
    "producer_success": (17, {**REQUEST, "producer_name": (2, BYTES), "last_sequence_id": (3, NUMBER)}),
    "ping": (18, {}),
    "pong": (19, {}),
    "redeliver": (20, {"consumer_id": (1, NUMBER), "message_ids": (2, MESSAGE_ID)}),
    "partitions": (21, {"topic": (1, BYTES), "request_id": (2, NUMBER), "may_create": (6, NUMBER)}),
    "partitions_response": (22, {"partitions": (1, NUMBER), "request_id": (2, NUMBER), "response": (3, NUMBER),
                                 "error": (4, NUMBER), "message": (5, BYTES)}),
    "lookup": (23, {"topic": (1, BYTES), "request_id": (2, NUMBER), "listener": (7, BYTES)}),
    "lookup_response": (24, {"url": (1, BYTES), "response": (3, NUMBER), "request_id": (4, NUMBER), "error": (6, NUMBER),
                             "message": (7, BYTES)}),
    "consumer_stats": (25, {**REQUEST, "consumer_id": (4, NUMBER)}),
    "consumer_stats_response": (26, {**REQUEST, **FAILED, "backlog": (15, NUMBER)}),
    "seek": (28, {"consumer_id": (1, NUMBER), "request_id": (2, NUMBER), "message_id": (3, MESSAGE_ID), "time": (4, NUMBER)}),
    "last_message_id": (29, {"consumer_id": (1, NUMBER), "request_id": (2, NUMBER)}),
    "last_message_id_response": (30, {"message_id": (1, MESSAGE_ID), "request_id": (2, NUMBER)}),
    "active_consumer_change": (31, {"consumer_id": (1, NUMBER)}),
    "topics": (32, {**REQUEST, "namespace": (2, BYTES), "mode": (3, NUMBER), "pattern": (4, BYTES)}),
    "topics_response": (33, {**REQUEST, "topics": (2, LIST)}),
    "get_schema": (34, {**REQUEST, "topic": (2, BYTES)}),
    "get_schema_response": (35, {**REQUEST, **FAILED, "schema": (4, SCHEMA)}),
    "auth_challenge": (36, {"server_version": (1, BYTES), "challenge": (2, AUTH)}),
    "auth_response": (37, {"client_version": (1, BYTES), "response": (2, AUTH)}),
    "ack_response": (38, {"consumer_id": (1, NUMBER), "error": (4, NUMBER), "message": (5, BYTES), "request_id": (6, NUMBER)}),
    "put_schema": (39, {**REQUEST, "topic": (2, BYTES), "schema": (3, SCHEMA)}),
    "put_schema_response": (40, {**REQUEST, **FAILED}),
    "new_txn": (50, REQUEST),
    "add_partition_to_txn": (52, {**TXN, "partitions": (4, BYTES)}),
    "add_subscription_to_txn": (54, {**TXN, "subscription": (4, {"topic": (1, BYTES), "subscription": (2, BYTES)})}),
    "end_txn": (56, {**TXN, "action": (4, NUMBER)}),
    "tc_connect": (62, {**REQUEST, "tc_id": (2, NUMBER)}),
    "watch_topics": (64, {**REQUEST, "watcher_id": (2, NUMBER), "namespace": (3, BYTES), "pattern": (4, BYTES)}),
}
NAMES = {kind: name for name, (kind, _) in COMMANDS.items()}
UNSOLICITED = (1 << 64) - 1

# Codes of ServerError that the scenarios expect.
UNKNOWN_ERROR, METADATA_ERROR, PERSISTENCE_ERROR, AUTHENTICATION_ERROR, AUTHORIZATION_ERROR = 0, 1, 2, 3, 4
SERVICE_NOT_READY, CHECKSUM_ERROR, TOPIC_NOT_FOUND, CONSUMER_NOT_FOUND = 6, 9, 11, 13
PRODUCER_BUSY, INVALID_TOPIC_NAME, NOT_ALLOWED = 16, 17, 22


def varint(number):
    number &= UNSOLICITED
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(fields, values):
    """The protobuf message of a dict; a list repeats its field."""
    out = b""
    for name, value in values.items():
        number, kind = fields[name]
        for one in value if isinstance(value, list) else [value]:
            if kind == NUMBER:
                out += varint(number << 3) + varint(int(one))
                continue
            data = encode(kind, one) if isinstance(kind, dict) else one.encode() if isinstance(one, str) else one
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def command(kind, **values):
    number, fields = COMMANDS[kind]
    return varint(1 << 3) + varint(number) + encode({kind: (number, fields)}, {kind: values})


def frame(body, payload=b""):
    return struct.pack(">II", 4 + len(body) + len(payload), len(body)) + body + payload


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def decode(fields, data):
    """What of a protobuf message is in `fields`, as a dict."""
    names = {number: (name, kind) for name, (number, kind) in fields.items()}
    values, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = read_varint(data, at)
        elif wire == 2:
            size, at = read_varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size = {1: 8, 5: 4}[wire]
            value, at = data[at:at + size], at + size
        name, kind = names.get(tag >> 3, (None, None))
        if kind == LIST:
            values.setdefault(name, []).append(value.decode())
        elif isinstance(kind, dict):
            values[name] = decode(kind, value)
        elif name is not None:
            values[name] = value.decode("utf-8", "replace") if wire == 2 else value
    return values


CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def payload(text, sequence_id=0, checksum=None):
    """Metadata and body of one message, as SEND carries them; `checksum` replaces the right one."""
    metadata = encode({"producer": (1, BYTES), "sequence_id": (2, NUMBER), "time": (3, NUMBER)},
                      {"producer": "raw", "sequence_id": sequence_id, "time": int(time.time() * 1000)})
    rest = struct.pack(">I", len(metadata)) + metadata + (text.encode() if isinstance(text, str) else text)
    return struct.pack(">HI", 0x0E01, crc32c(rest) if checksum is None else checksum) + rest


class Closed(Exception):
    """The server closed the connection."""


class Raw:
    """One connection that says exactly what it is told to say."""

    def __init__(self, port, seconds=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.seconds, self.buffer, self.last_request = seconds, b"", 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, kind, payload=b"", **values):
        self.raw(frame(command(kind, **values), payload))

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def receive(self):
        """The next command as (name, fields); PINGs are answered on the way."""
        while True:
            head = self._exactly(8)
            total, size = struct.unpack(">II", head)
            body = self._exactly(total - 4)[:size]
            kind, at = read_varint(body, 1)
            name = NAMES.get(kind)
            if name == "ping":
                self.send("pong")
                continue
            if name is None:
                return f"type {kind}", {}
            return name, decode({"value": COMMANDS[name]}, body[at:]).get("value", {})

    def _exactly(self, count):
        while len(self.buffer) < count:
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                raise AssertionError(f"no answer within {self.seconds} s") from None
            except OSError as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed("end of stream")
            self.buffer += data
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def ask(self, kind, **values):
        """Sends a request and waits for what answers it; other commands are passed over."""
        self.last_request += 1
        self.send(kind, request_id=self.last_request, **values)
        while True:
            name, answer = self.receive()
            if answer.get("request_id") in (self.last_request, UNSOLICITED):
                return name, answer

    def wait_for(self, kind):
        while True:
            name, answer = self.receive()
            if name == kind:
                return answer

    def connect(self, token=None, refresh=False):
        values = {"client_version": "raw", "protocol_version": 21, "features": {"auth_refresh": refresh}}
        if token is not None:
            values |= {"method": "token", "data": token}
        self.send("connect", **values)
        return self.receive()

    def log_in(self, token=None, refresh=False):
        name, answer = self.connect(token, refresh)
        assert name == "connected", (name, answer)
        return self

    def is_alive(self):
        """Whether the connection still answers."""
        try:
            self.send("ping")
            self.wait_for("pong")
            return True
        except Closed:
            return False

    def wait_closed(self):
        """Everything that comes until the server closes the connection."""
        got = []
        while True:
            try:
                got.append(self.receive())
            except Closed:
                return got


def readable(sockets, seconds):
    """Those of many sockets that have something to read or are closed."""
    poller = select.poll()
    by_number = {one.fileno(): one for one in sockets}
    for number in by_number:
        poller.register(number, select.POLLIN | select.POLLHUP)
    return [by_number[number] for number, _ in poller.poll(seconds * 1000)]

"""Every command of the protocol with every kind of wrong credentials: refused with the honest code, and nothing is told."""

import pathlib
import re
import sys

import pulsar
from region import Region
from tokens import Keys
from wire import (AUTHENTICATION_ERROR, AUTHORIZATION_ERROR, CONSUMER_NOT_FOUND, METADATA_ERROR, NOT_ALLOWED, UNSOLICITED,
                  command, frame, payload)

TOPIC = "persistent://acme/orders/known"
MISSING = "persistent://acme/orders/absent"
NOWHERE = "persistent://nobody/nothing/absent"
NO = AUTHORIZATION_ERROR
OK = "ok"
SCHEMA = {"name": "s", "data": '{"type":"record","name":"r","fields":[]}', "type": 4}

# Requests that name an object: what is sent for a topic, and what a stranger, a role that may produce, and one that may
# consume get. Each subscribe type is a row.
NAMED = {
    "partitions": (lambda t: ("partitions", {"topic": t}), NO, OK, OK),
    "lookup": (lambda t: ("lookup", {"topic": t}), NO, OK, OK),
    "producer": (lambda t: ("producer", {"topic": t, "producer_id": 7}), NO, OK, NO),
    "producer with a subscription": (
        lambda t: ("producer", {"topic": t, "producer_id": 8, "initial_subscription": "s"}), NO, NO, NO),
    "exclusive": (lambda t: ("subscribe", subscription(t, 0)), NO, NO, OK),
    "shared": (lambda t: ("subscribe", subscription(t, 1)), NO, NO, OK),
    "failover": (lambda t: ("subscribe", subscription(t, 2)), NO, NO, OK),
    "key shared": (lambda t: ("subscribe", subscription(t, 3)), NO, NO, OK),
    "reader": (lambda t: ("subscribe", {**subscription(t, 0, "reader"), "durable": 0}), NO, NO, OK),
    "topics": (lambda t: ("topics", {"namespace": "/".join(t.split("/")[2:4])}), NO, OK, OK),
    "topics by pattern": (
        lambda t: ("topics", {"namespace": "/".join(t.split("/")[2:4]), "pattern": ".*"}), NO, OK, OK),
    "get schema": (lambda t: ("get_schema", {"topic": t}), NO, OK, OK),
    "put schema": (lambda t: ("put_schema", {"topic": t, "schema": SCHEMA}), NO, OK, NO),
}
# Requests that Meridian does not have: the same honest no for everybody.
UNBUILT = {
    "new_txn": {}, "tc_connect": {"tc_id": 0},
    "add_partition_to_txn": {"least": 1, "most": 1, "partitions": TOPIC},
    "add_subscription_to_txn": {"least": 1, "most": 1, "subscription": {"topic": TOPIC, "subscription": "s"}},
    "end_txn": {"least": 1, "most": 1, "action": 0},
    "watch_topics": {"watcher_id": 1, "namespace": "acme/orders", "pattern": ".*"},
}
# Requests about handles of the connection, and the answer where it has none such.
HANDLES = {
    "seek": ({"consumer_id": 1, "message_id": {"ledger": 0, "entry": 0}}, METADATA_ERROR),
    "unsubscribe": ({"consumer_id": 1}, METADATA_ERROR),
    "last_message_id": ({"consumer_id": 1}, METADATA_ERROR),
    "consumer_stats": ({"consumer_id": 1}, CONSUMER_NOT_FOUND),
    "close_producer": ({"producer_id": 1}, OK),
    "close_consumer": ({"consumer_id": 1}, OK),
}
# Commands about handles that get no answer where the connection has none such.
SILENT = {
    "flow": {"consumer_id": 1, "permits": 1000},
    "ack": {"consumer_id": 1, "type": 1, "message_id": {"ledger": 0, "entry": 0}},
    "redeliver": {"consumer_id": 1},
}
# The arms of the broker's one `match` over commands, and the rows above (or the scenario) that cover each.
COVERED = {
    "Connect": "log in", "AuthResponse": "token_expiry.py", "Ping": "is_alive", "Pong": "receive",
    "Send": "a send without its producer", "LookupTopic": "lookup", "PartitionMetadata": "partitions",
    "Producer": "producer", "Subscribe": "exclusive", "GetTopicsOfNamespace": "topics", "GetSchema": "get schema",
    "GetOrCreateSchema": "put schema", "NewTxn": "new_txn", "TcClientConnectRequest": "tc_connect",
    "AddPartitionToTxn": "add_partition_to_txn", "AddSubscriptionToTxn": "add_subscription_to_txn", "EndTxn": "end_txn",
    "WatchTopicList": "watch_topics", "Seek": "seek", "Unsubscribe": "unsubscribe", "GetLastMessageId": "last_message_id",
    "ConsumerStats": "consumer_stats", "CloseProducer": "close_producer", "CloseConsumer": "close_consumer",
    "Flow": "flow", "Ack": "ack", "RedeliverUnacknowledgedMessages": "redeliver",
}


def subscription(topic, kind, name=None):
    return {"topic": topic, "subscription": name or f"type-{kind}", "type": kind, "consumer_id": 10 + kind}


def every_command():
    """Each command once, as bytes."""
    yield "auth_response", frame(command("auth_response", response={"method": "token", "data": "x"}))
    yield "send", frame(command("send", producer_id=1, sequence_id=0), payload("x"))
    for name, (build, *_) in NAMED.items():
        kind, values = build(TOPIC)
        yield name, frame(command(kind, request_id=1, **values))
    for name, values in [*UNBUILT.items(), *((name, row[0]) for name, row in HANDLES.items())]:
        yield name, frame(command(name, request_id=1, **values))
    for name, values in SILENT.items():
        yield name, frame(command(name, **values))


def check_no_command_is_forgotten():
    source = (pathlib.Path(__file__).parents[3] / "region/broker/src/session/mod.rs").read_text()
    arms = set(re.findall(r"Command::(\w+)\(", source))
    assert arms == set(COVERED), f"without a row: {arms - set(COVERED)}; gone: {set(COVERED) - arms}"
    rows = set(NAMED) | set(UNBUILT) | set(HANDLES) | set(SILENT)
    missing = {row for row in COVERED.values() if row not in rows}
    assert missing == {"log in", "token_expiry.py", "is_alive", "receive", "a send without its producer"}, missing


def check_bad_credentials(region, bad):
    """No bad token connects, and what is sent behind it is not looked at."""
    for name, token in bad.items():
        for kind, data in [("nothing", b""), *every_command()]:
            with region.raw() as connection:
                values = {} if token is None else {"method": "token", "data": token}
                connection.raw(frame(command("connect", client_version="raw", protocol_version=21, **values)) + data)
                got = connection.wait_closed()
            assert len(got) == 1 and got[0][0] == "error", (name, kind, got)
            answer = got[0][1]
            assert answer["request_id"] == UNSOLICITED, (name, kind, answer)
            assert answer["error"] == AUTHENTICATION_ERROR, (name, kind, answer)
            assert not token or str(token) not in answer["message"], (name, answer)
            assert "acme" not in answer["message"], (name, answer)
    for kind, data in every_command():
        with region.raw() as connection:
            connection.raw(data)
            got = connection.wait_closed()
        assert [(n, a.get("error"), a.get("request_id")) for n, a in got] == [("error", NOT_ALLOWED, UNSOLICITED)], (kind, got)


def outcome(answer):
    name, values = answer
    failed = "error" in values or name == "error"
    return values.get("error") if failed else OK


def check_role(region, token, column):
    """One role against every row; a fresh connection for each, which must go on after a refusal."""
    for name, (build, *expected) in NAMED.items():
        for topic in (TOPIC,) if expected[column] == OK else (TOPIC, MISSING, NOWHERE):
            kind, values = build(topic)
            with region.raw() as connection:
                connection.log_in(token)
                answer = connection.ask(kind, **values)
                wanted = OK if expected[column] == OK else NO
                assert outcome(answer) == wanted, (name, topic, answer, wanted)
                assert connection.is_alive(), (name, topic)
    with region.raw() as connection:
        connection.log_in(token)
        for name, values in UNBUILT.items():
            answer = connection.ask(name, **values)
            assert outcome(answer) == NOT_ALLOWED, (name, answer)
            assert "acme" not in str(answer), (name, answer)
        for name, (values, wanted) in HANDLES.items():
            answer = connection.ask(name, **values)
            assert outcome(answer) == wanted, (name, answer)
            assert "acme" not in str(answer), (name, answer)
        for name, values in SILENT.items():
            connection.send(name, **values)
        assert connection.is_alive()
        connection.send("send", payload=payload("x"), producer_id=99, sequence_id=0)
        closing = connection.wait_closed()
        assert [name for name, _ in closing] == ["error"], closing


def words(answer, topic):
    """What a refusal says, without the names that the question held."""
    tenant, namespace, local = topic.split("/")[2:]
    text = answer[1].get("message", "")
    return text.replace(topic, "T").replace(f"{tenant}/{namespace}", "N").replace(tenant, "t")


def check_refusals_do_not_tell(region, token):
    """A topic that exists, one that does not, and a tenant that does not: the stranger hears the same."""
    for name, (build, *_) in NAMED.items():
        told = set()
        for topic in (TOPIC, MISSING, NOWHERE):
            kind, values = build(topic)
            with region.raw() as connection:
                told.add(words(connection.log_in(token).ask(kind, **values), topic))
        assert len(told) == 1, (name, told)


def main():
    check_no_command_is_forgotten()
    folder = sys.argv[1]
    for kind in ("secret", "rsa", "ecdsa"):
        keys, other = Keys(folder, kind), Keys(folder, kind, "other")
        region = Region(folder, kind, "--config", keys.config(f"{folder}/{kind}.toml"))
        region.token = keys.token("admin")
        region.http("PUT", "/admin/v2/tenants/acme", {"adminRoles": ["acme-admin"], "allowedClusters": [kind]})
        region.http("PUT", "/admin/v2/tenants/globex", {"adminRoles": ["globex-admin"], "allowedClusters": [kind]})
        region.http("PUT", "/admin/v2/namespaces/acme/orders")
        region.http("POST", "/admin/v2/namespaces/acme/orders/permissions/writer", ["produce"])
        region.http("POST", "/admin/v2/namespaces/acme/orders/permissions/reader", ["consume"])
        client = region.client(authentication=pulsar.AuthenticationToken(keys.token("acme-admin")))
        consumer = client.subscribe(TOPIC, "others", consumer_type=pulsar.ConsumerType.Shared)
        producer = client.create_producer(TOPIC)
        producer.send(b"before")
        bad = keys.bad_tokens(other)
        check_bad_credentials(region, bad)
        if kind == "secret":
            with region.raw() as connection:
                answer = connection.log_in(region.token).ask("put_schema", topic=TOPIC, schema=SCHEMA)
                assert outcome(answer) == OK, answer
            check_role(region, keys.token("globex-admin"), 0)
            check_role(region, keys.token("writer"), 1)
            check_role(region, keys.token("reader"), 2)
            check_refusals_do_not_tell(region, keys.token("globex-admin"))
        producer.send(b"after")
        got = [consumer.receive(10000) for _ in range(2)]
        assert [message.data() for message in got] == [b"before", b"after"], "a stranger's commands reached this consumer"
        assert region.stats(TOPIC)["subscriptions"]["others"]["msgBacklog"] == 2
        topics = region.http("GET", "/admin/v2/persistent/acme/orders")
        assert topics == [TOPIC], f"a refused command created a topic: {topics}"
        client.close()
        region.stop()


main()

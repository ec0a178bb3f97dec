"""`meridian admin`, `produce`, `consume` against a running server: exit codes, what they print, errors that help."""

import json
import os
import sys

from region import Region, run
from tokens import Keys

REFUSED, USAGE, UNBUILT, UNREACHABLE, CONFIG = 1, 2, 64, 69, 78
TOPIC = "persistent://acme/orders/cli"


class Cli:
    def __init__(self, region, token):
        self.fixed = ["--admin-url", f"http://127.0.0.1:{region.ports['http']}", "--auth-token", f"token:{token}"]

    def __call__(self, *words, code=0):
        got, out, error = run("admin", *self.fixed, *words)
        assert got == code, f"admin {' '.join(words)}: exit {got}, not {code}: {out}{error}"
        if code:
            assert error.startswith("meridian: ") and len(error) < 2000 and out == "", (words, out, error)
            assert "panicked" not in error, error
            return error
        assert error == "", (words, error)
        return out

    def json(self, *words):
        return json.loads(self(*words, "-o", "json"))


def check_verbs(cli):
    assert cli("tenants", "list").split() == ["public", "pulsar"]
    cli("tenants", "create", "acme", "--admin-roles", "boss")
    assert cli.json("tenants", "get", "acme")["adminRoles"] == ["boss"]
    assert cli.json("tenants", "get", "acme")["allowedClusters"] == ["standalone"]
    cli("tenants", "update", "acme", "-r", "boss,other")
    assert sorted(cli.json("tenants", "get", "acme")["adminRoles"]) == ["boss", "other"]
    cli("namespaces", "create", "acme/orders")
    assert cli("namespaces", "list", "acme").split() == ["acme/orders"]
    cli("namespaces", "set-retention", "acme/orders", "--time", "3h", "--size", "1G")
    assert cli.json("namespaces", "get-retention", "acme/orders") == {
        "retentionTimeInMinutes": 180, "retentionSizeInMB": 1024}
    cli("namespaces", "remove-retention", "acme/orders")
    assert cli.json("namespaces", "get-retention", "acme/orders") is None
    cli("namespaces", "set-message-ttl", "acme/orders", "--ttl", "60")
    assert cli("namespaces", "get-message-ttl", "acme/orders").strip() == "60"
    cli("namespaces", "set-publish-rate", "acme/orders", "-m", "1000")
    cli("namespaces", "set-backlog-quota", "acme/orders", "-l", "10G", "-p", "producer_exception")
    assert cli.json("namespaces", "get-backlog-quotas", "acme/orders")["destination_storage"]["limitSize"] == 10 << 30
    cli("namespaces", "grant-permission", "acme/orders", "--role", "app", "--actions", "produce,consume")
    assert sorted(cli.json("namespaces", "permissions", "acme/orders")["app"]) == ["consume", "produce"]
    cli("namespaces", "revoke-permission", "acme/orders", "--role", "app")
    assert cli("clusters", "list").split() == ["standalone"]
    assert cli("brokers", "healthcheck").strip() == "ok"
    cli("topics", "create", TOPIC)
    cli("topics", "create-partitioned-topic", "acme/orders/parts", "-p", "2")
    assert cli.json("topics", "get-partitioned-topic-metadata", "acme/orders/parts")["partitions"] == 2
    assert TOPIC in cli("topics", "list", "acme/orders").split()
    cli("topics", "create-subscription", TOPIC, "-s", "inbox", "-m", "earliest")
    assert cli("topics", "subscriptions", TOPIC).split() == ["inbox"]


def check_messages(region, cli, token):
    where = ["--service-url", f"pulsar://127.0.0.1:{region.ports['pulsar']}", "--auth-token", f"token:{token}"]
    code, _, error = run("produce", TOPIC, "-m", "hello", "--count", "5", *where)
    assert code == 0, error
    assert cli.json("topics", "stats", TOPIC)["subscriptions"]["inbox"]["msgBacklog"] == 5
    assert "hello" in cli("topics", "peek-messages", TOPIC, "-s", "inbox")
    cli("topics", "skip", TOPIC, "-s", "inbox", "-n", "2")
    assert cli.json("topics", "stats", TOPIC)["subscriptions"]["inbox"]["msgBacklog"] == 3
    cli("topics", "reset-cursor-to-id", TOPIC, "-s", "inbox", "-m", "earliest")
    code, out, error = run("consume", TOPIC, "--subscription", "inbox", "--count", "5", *where)
    assert code == 0 and out.count("hello") == 5, (code, out, error)
    cli("topics", "unload", TOPIC)
    error = cli("topics", "delete", TOPIC, code=REFUSED)
    assert "subscription" in error, error
    cli("topics", "delete", TOPIC, "--force")
    error = cli("topics", "stats", TOPIC, code=REFUSED)
    assert TOPIC in error and "404" in error, error


def check_errors(region, cli, keys):
    assert "404" in cli("tenants", "get", "nobody", code=REFUSED)
    assert "409" in cli("tenants", "create", "acme", code=REFUSED)
    assert "412" in cli("tenants", "create", "a b", code=REFUSED)
    for words in (("tenant", "list"), ("tenants", "lst"), ("topics", "stats"), ("topics", "stats", "a", "b"),
                  ("topics", "stats", TOPIC, "--colour"), ("topics", "skip", TOPIC, "-s", "x"),
                  ("topics", "skip", TOPIC, "-s", "x", "-n", "many"), ("namespaces", "set-retention", "acme/orders"),
                  ("namespaces", "get-retention", "acme"),
                  ("tenants", "list", "-o", "xml"), ("namespaces", "set-backlog-quota", "acme/orders", "-l", "1X", "-p", "x")):
        error = cli(*words, code=USAGE)
        assert len(error) > 20, (words, error)
    assert "412" in cli("topics", "stats", "not/a/valid/topic/name", code=REFUSED)
    code, out, _ = run("produce", "--help")
    assert code == 0 and "{{ n }}" in out, out
    assert "`meridian admin`" in cli("tenant", "list", code=USAGE), "where the nouns are listed"
    cli("tenants", "list", "-o", "yaml", code=UNBUILT)
    url = f"http://127.0.0.1:{region.ports['http']}"
    for token, word in ((["--auth-token", "token:x.y.z"], "401"), ([], "401"),
                        (["--auth-token", "token:" + keys.token("nobody")], "401")):
        code, out, error = run("admin", "--admin-url", url, *token, "tenants", "list")
        assert code == REFUSED and word in error and out == "", (token, code, error)
        assert "x.y.z" not in error, error
    code, _, error = run("admin", "--admin-url", url, "--auth-token", "/nowhere/token", "tenants", "list")
    assert code in (70, CONFIG) and "/nowhere/token" in error, (code, error)
    code, _, error = run("admin", "--admin-url", "http://127.0.0.1:1", "tenants", "list")
    assert code == UNREACHABLE and "127.0.0.1:1" in error and "running" in error, (code, error)
    code, _, error = run("admin", "--admin-url", f"http://127.0.0.1:{region.ports['pulsar']}", "tenants", "list")
    assert code == UNREACHABLE, (code, error)
    code, out, _ = run("admin", "topics")
    assert code == 0 and "create-partitioned-topic" in out


def main():
    keys = Keys(sys.argv[1], "secret")
    region = Region(sys.argv[1], "standalone", "--config", keys.config(f"{sys.argv[1]}/auth.toml"))
    region.token = keys.token("admin")
    cli = Cli(region, region.token)
    check_verbs(cli)
    check_messages(region, cli, region.token)
    check_errors(region, cli, keys)
    region.stop()


main()
os._exit(0)

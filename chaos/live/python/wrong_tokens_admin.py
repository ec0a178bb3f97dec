"""Every route of the admin API, as the server's own table lists them, with every kind of wrong credentials."""

import http.client
import json
import pathlib
import re
import sys

import pulsar
from region import Region, parse
from tokens import Keys

METHODS = {"Get": "GET", "Put": "PUT", "Post": "POST", "Delete": "DELETE"}
# What needs no token, all of it: a new open route is a decision to be written down here as well.
OPEN = {"status.html", "livez", "readyz", "admin/v2/brokers/health", "admin/v2/brokers/ready"}
# What super users alone may do: Pulsar answers 401 to others, not 403 (§1 of its admin API).
SUPER = {"WriteTenant", "ListTenants", "ReadCluster", "WriteCluster", "ReadBroker", "WriteBroker"}
ANY_ROLE = {"ListClusters"}
PRODUCE = {"Lookup", "GetSchema", "PutSchema", "ListTopics", "ReadStats"}
CONSUME = {"Lookup", "GetSchema", "ListTopics", "ReadStats", "ListSubscriptions", "CreateSubscription", "Unsubscribe", "Peek",
           "ReadMessages", "SkipMessages", "ExpireMessages", "ResetCursor"}
# What a tenant's own admins may do beside that.
ADMIN = {"CreateTopic", "DeleteTopic", "UpdateTopic", "UnloadTopic", "TerminateTopic", "TruncateTopic", "CompactTopic",
         "OffloadTopic", "DeleteSchema", "ReadTopicPolicies", "WriteTopicPolicies", "ReadTopicPermissions",
         "WriteTopicPermissions", "CreateNamespace", "DeleteNamespace", "UnloadNamespace", "ReadNamespacePolicies",
         "WriteNamespacePolicies", "ReadNamespacePermissions", "WriteNamespacePermissions", "ClearNamespaceBacklog",
         "ListNamespaces", "ReadTenant"}
FILLED = {"domain": "persistent", "tenant": "acme", "namespace": "orders", "topic": "known", "subscription": "inbox",
          "cluster": "standalone", "role": "somebody", "bundle": "0x00000000_0x40000000", "policy": "retention",
          "name": "x", "value": "1", "key": "k", "broker": "b"}
TOPIC = "persistent://acme/orders/known"


def routes():
    """The rows of region/admin/src/table.rs: method, pattern, operation ("open" and "any" for those without one)."""
    source = (pathlib.Path(__file__).parents[3] / "region/admin/src/table.rs").read_text()
    row = re.compile(r'(Get|Put|Post|Delete) "([^"]*)" (open|any|metrics|\(\w+ (\w+)\)) [\w:]+;')
    groups = re.findall(r'rows! \{ "([^"]*)";(.*?)\n\};', source, re.S)
    access = {"metrics": "any"}  # This region is told to ask readers of metrics who they are.
    found = [(METHODS[m.group(1)], prefix + m.group(2), m.group(4) or access.get(m.group(3), m.group(3)))
             for prefix, body in groups for m in row.finditer(body)]
    lines = len(re.findall(r'^    (?:Get|Put|Post|Delete) "', source, re.M))
    assert len(found) == lines > 150, f"{len(found)} of {lines} rows of the table were understood"
    return found


def path_of(pattern, **names):
    names = {**FILLED, **names}
    words = (names.get(word[1:], "1") if word.startswith(":") else "x" if word == "*" else word for word in pattern.split("/"))
    return "/" + "/".join(words)


class Door:
    """One kept-alive connection to the admin API."""

    def __init__(self, region):
        self.connection = http.client.HTTPConnection("127.0.0.1", region.ports["http"], timeout=30)

    def ask(self, method, path, authorization=None, body=b"[]"):
        headers = {"Content-Type": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        self.connection.request(method, path, body=None if method == "GET" else body, headers=headers)
        answer = self.connection.getresponse()
        return answer.status, parse(answer.read()), dict(answer.getheaders())


def check_the_rules_are_complete(rows):
    named = {operation for _, _, operation in rows} - {"open", "any"}
    known = SUPER | ANY_ROLE | PRODUCE | CONSUME | ADMIN
    assert named <= known, f"operations that no column knows: {named - known}"
    assert {pattern for _, pattern, operation in rows if operation == "open"} == OPEN


def state_of(region):
    """Everything that a request that was refused could have changed."""
    lists = {path: region.http("GET", path) for path in (
        "/admin/v2/tenants", "/admin/v2/clusters", "/admin/v2/tenants/acme", "/admin/v2/namespaces/acme",
        "/admin/v2/namespaces/acme/orders", "/admin/v2/persistent/acme/orders", "/admin/v2/persistent/acme/orders/partitioned",
        "/admin/v2/persistent/acme/orders/known/subscriptions", "/admin/v2/persistent/acme/orders/known/permissions",
        "/admin/v2/schemas/acme/orders/known/schemas", "/admin/v2/brokers/configuration/values")}
    backlog = region.stats(TOPIC)["subscriptions"]["inbox"]["msgBacklog"]
    return json.dumps([lists, backlog], sort_keys=True)


def check_bad_credentials(region, rows, bad):
    door = Door(region)
    headers = {"no header": None, "another scheme": "Digest x", "no scheme": "x", "empty": "", "bearer alone": "Bearer",
               "unknown user": "Basic YWRtaW46YWRtaW4="}
    headers |= {name: f"Bearer {token}" for name, token in bad.items() if isinstance(token, str) and token}
    for method, pattern, operation in rows:
        if operation == "open":
            continue
        for name, authorization in headers.items():
            status, body, answered = door.ask(method, path_of(pattern), authorization)
            assert status == 401, (name, method, pattern, status, body)
            assert answered.get("www-authenticate", answered.get("WWW-Authenticate")), (name, method, pattern, answered)
            assert set(body) == {"reason"} and "acme" not in body["reason"], (name, method, pattern, body)
            secret = bad.get(name)
            assert not secret or secret not in body["reason"], (name, body)
    for method, path in (("GET", "/admin/v2/nonsense"), ("PATCH", "/admin/v2/tenants"), ("POST", "/lookup/v2/x")):
        status, body, _ = Door(region).ask(method, path)
        assert status in (401, 405), (method, path, status, body)


def expected(operation, role):
    if operation in ("any", *ANY_ROLE):
        return None
    if operation in SUPER:
        return 401
    may = {"stranger": set(), "writer": PRODUCE, "reader": CONSUME}[role]
    return None if operation in may else 403


def check_role(door, rows, role, token):
    """What the role may not do is refused; `None` is whatever the handler says, but no refusal of the door."""
    for method, pattern, operation in rows:
        if operation == "open":
            continue
        wanted = expected(operation, role)
        status, body, _ = door.ask(method, path_of(pattern), f"Bearer {token}")
        if wanted is None:
            assert status not in (401, 403) and status != 500, (role, method, pattern, status, body)
        else:
            assert status == wanted, (role, method, pattern, status, body, wanted)


def check_refusals_do_not_tell(door, rows, token):
    """Existing, missing, and of a tenant that does not exist: a stranger hears the same, names apart."""
    places = ({}, {"topic": "absent", "subscription": "missing"}, {"tenant": "nobody", "namespace": "nothing"})
    for method, pattern, operation in rows:
        if operation in ("open", "any", *ANY_ROLE):
            continue
        told = set()
        for names in places:
            status, body, _ = door.ask(method, path_of(pattern, **names), f"Bearer {token}")
            reason = body["reason"]
            for kind in ("subscription", "topic", "namespace", "tenant"):
                reason = reason.replace({**FILLED, **names}[kind], kind.upper())
            told.add((status, reason))
        assert len(told) == 1, (method, pattern, told)


def main():
    rows = routes()
    check_the_rules_are_complete(rows)
    keys, other = Keys(sys.argv[1], "secret"), Keys(sys.argv[1], "secret", "other")
    region = Region(sys.argv[1], "standalone", "--config", keys.config(f"{sys.argv[1]}/auth.toml", authenticate_metrics_endpoint=True))
    region.token = keys.token("admin")
    clusters = ["standalone"]
    region.http("PUT", "/admin/v2/tenants/acme", {"adminRoles": ["acme-admin"], "allowedClusters": clusters})
    region.http("PUT", "/admin/v2/tenants/globex", {"adminRoles": ["globex-admin"], "allowedClusters": clusters})
    region.http("PUT", "/admin/v2/namespaces/acme/orders")
    region.http("POST", "/admin/v2/namespaces/acme/orders/permissions/writer", ["produce"])
    region.http("POST", "/admin/v2/namespaces/acme/orders/permissions/reader", ["consume"])
    client = region.client(authentication=pulsar.AuthenticationToken(keys.token("acme-admin")))
    client.subscribe(TOPIC, "inbox").close()
    producer = client.create_producer(TOPIC, schema=pulsar.schema.StringSchema())
    for i in range(5):
        producer.send(str(i))
    before = state_of(region)
    check_bad_credentials(region, rows, keys.bad_tokens(other))
    door, stranger = Door(region), keys.token("globex-admin")
    check_role(door, rows, "stranger", stranger)
    check_refusals_do_not_tell(door, rows, stranger)
    assert state_of(region) == before, "a refused request changed something"
    for pattern in OPEN:
        assert door.ask("GET", path_of(pattern))[0] == 200, pattern
    check_role(door, rows, "writer", keys.token("writer"))
    check_role(door, rows, "reader", keys.token("reader"))
    # A tenant's admin stays inside of it; the names of others are not in what it lists.
    status, tenants, _ = door.ask("GET", "/admin/v2/tenants", f"Bearer {keys.token('acme-admin')}")
    assert status == 401 and "globex" not in str(tenants), (status, tenants)
    producer.send("others go on")
    client.close()
    region.stop()


main()

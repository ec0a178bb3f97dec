"""The playground under steady load both ways: the link cut for 20 s, every region killed twice, one frozen for 15 s.

Afterwards both regions hold the same messages, each origin's in order and once, cursors stand where they stood, and the
playground itself has counted nothing missing, doubled or reordered.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

import pulsar
from region import BINARY, QUIET, drain, until

CUT_SECONDS, FROZEN_SECONDS, PAUSE_SECONDS = 20, 15, 0.005
TOPIC = "persistent://acme/orders/witness"
folder = os.path.join(sys.argv[1], "playground")
log = open(os.path.join(sys.argv[1], "playground.log"), "ab")
playground = subprocess.Popen([BINARY, "playground", "--data", folder, "--port-base", "21000", "--load-rate", "100"],
                              stdout=subprocess.PIPE, stderr=log)
atexit.register(playground.terminate)
began = time.monotonic()
for line in playground.stdout:
    if line.startswith(b"ready "):
        break
else:
    sys.exit(f"the playground did not start; see {log.name}")
ready = time.monotonic() - began
control = dict(part.split("=", 1) for part in line.decode().split()[1:])["control"]


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(control + path, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def node(name, action):
    ask(f"/node/{name}-0", {"action": action})


nodes = {shown["region"]: shown for shown in ask("/status")["nodes"]}
names = sorted(nodes)
token = open(os.path.join(folder, "tokens", "acme.jwt")).read().strip()
clients = {name: pulsar.Client(nodes[name]["pulsar"], authentication=pulsar.AuthenticationToken(token), logger=QUIET)
           for name in names}
cursors = {name: clients[name].subscribe(TOPIC, "half-read", initial_position=pulsar.InitialPosition.Earliest)
           for name in names}
# Reads nothing, so that nothing is trimmed before the end.
for client in clients.values():
    client.subscribe(TOPIC, "keep", initial_position=pulsar.InitialPosition.Earliest).close()
sent, stop = {name: 0 for name in names}, threading.Event()


def publish(name):
    producer = clients[name].create_producer(TOPIC, producer_name=f"from-{name}", block_if_queue_full=True,
                                             send_timeout_millis=0, batching_enabled=True)
    while not stop.is_set():
        producer.send_async(f"{name}:{sent[name]}".encode(), lambda result, _: None)
        sent[name] += 1
        stop.wait(PAUSE_SECONDS)
    producer.flush()


def settled():
    """Nothing of the load is under way any more."""
    totals = ask("/status")["invariants"]
    return totals["missing"] == 0 and totals["lag_ms"] < 1000 and totals["delivered"] > 0


threads = [threading.Thread(target=publish, args=(name,)) for name in names]
for thread in threads:
    thread.start()
acked = {}
for name in names:
    last = [cursors[name].receive(30000) for _ in range(100)][-1]
    cursors[name].acknowledge_cumulative(last)
    acked[name] = last.message_id()
    cursors[name].close()
    # This client hears nothing of an acknowledgement; one that is answered, of the same cursors, comes after it on the disk.
    clients[name].subscribe(TOPIC, "behind").close()

ask("/link", {"from": names[0], "to": names[1], "both": True, "cut": True})
began_cut = time.monotonic()
for name in names:
    node(name, "kill")
    node(name, "start")
until("the link was cut long enough", lambda: time.monotonic() - began_cut >= CUT_SECONDS, CUT_SECONDS + 5)
ask("/link", {"from": names[0], "to": names[1], "both": True, "cut": False})
node(names[1], "freeze")
frozen = time.monotonic()
until("the region was frozen long enough", lambda: time.monotonic() - frozen >= FROZEN_SECONDS, FROZEN_SECONDS + 5)
node(names[1], "thaw")
for name in names:
    node(name, "kill")
    node(name, "start")
stop.set()
for thread in threads:
    thread.join()
until("the playground's own load arrived everywhere", settled, 60)

total = sum(sent.values())
for name in names:
    got = drain(clients[name], TOPIC, total)
    assert len(got) == total, f"{name} holds {len(got)} of {total}"
    for origin in names:
        numbers = [int(text.split(":")[1]) for text in got if text.startswith(origin + ":")]
        assert numbers == list(range(sent[origin])), (
            f"{name} holds {len(numbers)} of {sent[origin]} from {origin}, {len(set(numbers))} distinct, "
            f"in order: {numbers == sorted(numbers)}")
    again = clients[name].subscribe(TOPIC, "half-read")
    first = again.receive(10000).message_id()
    # A batch that is acknowledged in part comes again as a whole.
    entry = lambda id: (id.ledger_id(), id.entry_id())
    assert entry(first) >= entry(acked[name]), f"{name}: the cursor went back from {acked[name]} to {first}"
    again.close()
totals = ask("/status")["invariants"]
assert totals["duplicated"] == 0 and totals["reordered"] == 0, totals
for client in clients.values():
    client.close()
playground.terminate()
assert playground.wait(timeout=15) == 0, f"the playground ended with {playground.returncode}"
print(f"ready in {ready:.1f} s; {total} witnesses and {totals['published']} of the load, each once and in order everywhere")

"""Two regions of three nodes under steady load both ways: the node that leads is killed, another one is frozen and comes back.

Afterwards the playground has counted nothing missing, doubled or reordered, and every message has arrived in the other region.
"""

import atexit
import json
import os
import subprocess
import sys
import time
import urllib.request

from region import BINARY, until

FROZEN_SECONDS = 4
folder = os.path.join(sys.argv[1], "playground")
log = open(os.path.join(sys.argv[1], "playground.log"), "ab")
playground = subprocess.Popen([BINARY, "playground", "--data", folder, "--nodes", "3", "--port-base", "22000"],
                              stdout=subprocess.PIPE, stderr=log)
atexit.register(playground.terminate)
for line in playground.stdout:
    if line.startswith(b"ready "):
        break
else:
    sys.exit(f"the playground did not start; see {log.name}")
control = dict(part.split("=", 1) for part in line.decode().split()[1:])["control"]


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(control + path, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def totals():
    return ask("/status")["invariants"]


def goes_on(what):
    """Messages are published and delivered anew, and what was under way has arrived."""
    before = totals()
    until(f"publishing and delivering {what}",
          lambda: (now := totals())["published"] > before["published"] + 200
          and now["delivered"] > before["published"] and now["lag_ms"] < 2000, seconds=60)
    now = totals()
    assert now["missing"] == now["duplicated"] == now["reordered"] == 0, (what, now)
    print(what, now, flush=True)


assert len(ask("/status")["nodes"]) == 6
goes_on("at first")
# The first node has founded its region: it leads, and speaks with the other region.
ask("/node/east-0", {"action": "kill"})
goes_on("after a leader was killed")
ask("/node/east-0", {"action": "start"})
goes_on("after it is back")
ask("/node/west-1", {"action": "freeze"})
time.sleep(FROZEN_SECONDS)
ask("/node/west-1", {"action": "thaw"})
goes_on("after a frozen node woke up")
playground.terminate()
playground.wait(timeout=30)

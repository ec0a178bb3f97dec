"""A namespace limited to 100 messages/s gets 98 to 102 over 10 s, while its neighbour is unmoved."""

import os
import sys
import threading
import time

from region import Region

LIMIT, SECONDS = 100, 10
region = Region(sys.argv[1])
for namespace in ("public/limited", "public/free"):
    region.http("PUT", f"/admin/v2/namespaces/{namespace}")
region.http("POST", "/admin/v2/namespaces/public/limited/namespacePublishRate",
            {"publishThrottlingRateInMsg": LIMIT, "publishThrottlingRateInByte": -1})

done = {"limited": [], "free": []}
stop = threading.Event()


def flood(namespace, number):
    client = region.client()
    producer = client.create_producer(f"persistent://public/{namespace}/t{number}", batching_enabled=False,
                                      max_pending_messages=50, block_if_queue_full=True, send_timeout_millis=0)
    while not stop.is_set():
        producer.send_async(b"x", lambda result, _: done[namespace].append(time.monotonic()))
        if namespace == "free":
            time.sleep(0.005)


threads = [threading.Thread(target=flood, args=(namespace, number), daemon=True)
           for namespace in done for number in range(2)]
start = time.monotonic()
for thread in threads:
    thread.start()
time.sleep(SECONDS + 1.5)
stop.set()
first = done["limited"][0]
limited = sum(1 for at in done["limited"] if at - first <= SECONDS)
free = sum(1 for at in done["free"] if at - done["free"][0] <= SECONDS)
print(f"limited {limited / SECONDS}/s, free {free / SECONDS}/s", flush=True)
assert 0.98 * LIMIT * SECONDS <= limited <= 1.02 * LIMIT * SECONDS, limited
assert free >= 2 * LIMIT * SECONDS, free
region.kill()
# The client's own threads do not end while their sends are held back.
os._exit(0)

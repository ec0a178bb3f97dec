"""Both regions publish; each is killed twice and one is frozen meanwhile; both copies end equal, in origin order, once each."""

import sys

import pulsar
from region import drain, joined, until

COUNT = 1500
regions = joined(sys.argv[1])
names = list(regions)
for region in regions.values():
    region.http("POST", "/admin/v2/namespaces/acme/orders/deduplication", True)

topic = "persistent://acme/orders/geo"
clients = {name: region.client() for name, region in regions.items()}
for client in clients.values():
    client.subscribe(topic, "keep", initial_position=pulsar.InitialPosition.Earliest)
# Policies and partitions that are set in one region are seen in the other, whichever it is.
for here, there, rate in (("east", "west", 5_000_000), ("west", "east", 6_000_000)):
    limits = {"publishThrottlingRateInMsg": rate, "publishThrottlingRateInByte": -1}
    own = "/admin/v2/persistent/acme/orders/geo"
    until("the topic is listed", lambda: topic in regions[here].http("GET", "/admin/v2/persistent/acme/orders"))
    regions[here].http("POST", own + "/publishRate", limits)
    until("a topic's policy is seen there",
          lambda: (regions[there].http("GET", own + "/publishRate") or {}).get("publishThrottlingRateInMsg") == rate)
    regions[here].http("POST", "/admin/v2/namespaces/acme/orders/messageTTL", rate)
    until("a namespace's policy is seen there",
          lambda: regions[there].http("GET", "/admin/v2/namespaces/acme/orders/messageTTL") == rate)
    split = f"/admin/v2/persistent/acme/orders/split-{here}"
    regions[here].http("PUT", split + "/partitions", 3)
    until("a partitioned topic exists there too",
          lambda: split.replace("/admin/v2/persistent/", "persistent://")
          in regions[there].http("GET", "/admin/v2/persistent/acme/orders/partitioned"))
    assert regions[there].http("GET", split + "/partitions")["partitions"] == 3
producers = {name: clients[name].create_producer(topic, producer_name=f"from-{name}", block_if_queue_full=True)
             for name in names}
sent = 0
for step in ("east", "west", "freeze", "east", "west"):
    if step == "freeze":
        regions["west"].freeze()
    for i in range(sent, sent + COUNT):
        for name in names:
            if step != "freeze" or name == "east":
                producers[name].send_async(f"{name}:{i}".encode(), lambda result, _: None)
    if step == "freeze":
        producers["east"].flush()
        regions["west"].thaw()
        for i in range(sent, sent + COUNT):
            producers["west"].send_async(f"west:{i}".encode(), lambda result, _: None)
    else:
        regions[step].kill()
        regions[step].start()
    sent += COUNT
for producer in producers.values():
    producer.flush()

for name in names:
    got = drain(clients[name], topic, 2 * sent)
    for origin in names:
        numbers = [int(text.split(":")[1]) for text in got if text.startswith(origin + ":")]
        assert numbers == list(range(sent)), (
            f"{name} holds {len(numbers)} of {sent} from {origin}, {len(set(numbers))} distinct, "
            f"in order: {numbers == sorted(numbers)}")
for name, region in regions.items():
    other = next(n for n in names if n != name)
    until("no replication lag", lambda: region.stats(topic)["replication"][other]["replicationBacklog"] == 0)
for client in clients.values():
    client.close()
for region in regions.values():
    region.stop()

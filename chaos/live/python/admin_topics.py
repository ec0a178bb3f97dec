"""Topics and subscriptions over the admin API, with a producer and a consumer at work where it matters."""

import os
import sys
import threading
import urllib.request

import pulsar
from admin_rest import Asker
from region import Region, until

PUBLIC = "/admin/v2/persistent/public/default"
EARLIEST = pulsar.InitialPosition.Earliest


def name(topic):
    return f"persistent://public/default/{topic}"


def check_creation(ask, client):
    ask("PUT", f"{PUBLIC}/one")
    ask("PUT", f"{PUBLIC}/one", status=409)
    ask("PUT", f"{PUBLIC}/one/partitions", 2, status=409)
    ask("PUT", f"{PUBLIC}/parts/partitions", 3)
    ask("PUT", f"{PUBLIC}/parts/partitions", 3, status=409)
    ask("PUT", f"{PUBLIC}/parts", status=409)
    for count in (0, -1, 1 << 30):
        ask("PUT", f"{PUBLIC}/wrong/partitions", count, status=406)
    ask("PUT", f"{PUBLIC}/a-partition-1/partitions", 2, status=412)
    ask("PUT", "/admin/v2/persistent/public/nothing/t", status=404)
    ask("PUT", "/admin/v2/persistent/public/nothing/t/partitions", 2, status=404)
    answer = ask("GET", f"{PUBLIC}/parts/partitions", status=200)
    assert (answer["partitions"], answer["deleted"]) == (3, False), answer
    assert ask("GET", f"{PUBLIC}/one/partitions", status=200)["partitions"] == 0
    ask("GET", f"{PUBLIC}/absent/partitions", status=404)
    ask("POST", f"{PUBLIC}/parts/partitions", 2, status=409)
    ask("POST", f"{PUBLIC}/parts/partitions", 4)
    consumer = client.subscribe(name("parts"), "s", initial_position=EARLIEST)
    producer = client.create_producer(name("parts"))
    for i in range(40):
        producer.send(str(i).encode())
    got = [consumer.receive(10000) for _ in range(40)]
    assert {message.data() for message in got} == {str(i).encode() for i in range(40)}
    for message in got:
        consumer.acknowledge(message)
    names = ask("GET", PUBLIC, status=200)
    assert {name(f"parts-partition-{i}") for i in range(4)} | {name("one")} <= set(names), names
    assert ask("GET", f"{PUBLIC}/partitioned", status=200) == [name("parts")]
    stats = ask("GET", f"{PUBLIC}/parts/partitioned-stats?perPartition=true", status=200)
    assert stats["metadata"]["partitions"] == 4 and len(stats["partitions"]) == 4, stats.keys()
    assert stats["msgInCounter"] == 40 and "s" in stats["subscriptions"], stats
    ask("GET", f"{PUBLIC}/one/partitioned-stats", status=404)
    ask("GET", f"{PUBLIC}/parts/lastMessageId", status=405)
    ask("DELETE", f"{PUBLIC}/parts", status=409)
    ask("DELETE", f"{PUBLIC}/parts/partitions", status=412)
    consumer.close()
    producer.close()
    ask("DELETE", f"{PUBLIC}/parts/partitions?force=true")
    ask("GET", f"{PUBLIC}/parts/partitions", status=404)
    ask("DELETE", f"{PUBLIC}/one")
    ask("DELETE", f"{PUBLIC}/one", status=404)
    assert ask("GET", PUBLIC, status=200) == []


def check_unload(ask, client):
    """Closing the topic again and again under load: clients come back, and every message is stored once and in order."""
    client.subscribe(name("moving"), "audit", initial_position=EARLIEST).close()
    consumer = client.subscribe(name("moving"), "s", initial_position=EARLIEST)
    producer = client.create_producer(name("moving"), batching_enabled=False, block_if_queue_full=True)
    done, failed, count = threading.Event(), [], [0]

    def publish():
        while not done.is_set():
            producer.send_async(str(count[0]).encode(), lambda result, _: result == pulsar.Result.Ok or failed.append(result))
            count[0] += 1
        producer.flush()

    sender = threading.Thread(target=publish)
    sender.start()
    for _ in range(5):
        before = count[0]
        ask("PUT", f"{PUBLIC}/moving/unload")
        until("publishing after an unload", lambda: count[0] > before + 1500)
    done.set()
    sender.join()
    assert not failed, failed[:3]
    seen = -1
    while seen < count[0] - 1:
        message = consumer.receive(10000)
        number = int(message.data())
        assert number <= seen + 1, f"{number} came after {seen}"
        seen = max(seen, number)
        consumer.acknowledge(message)
    audit = client.subscribe(name("moving"), "audit")
    stored = [int(audit.receive(10000).data()) for _ in range(count[0])]
    assert stored == list(range(count[0])), f"{len(set(stored))} distinct of {count[0]}, in order: {stored == sorted(stored)}"
    audit.close()
    ask("PUT", f"{PUBLIC}/absent/unload", status=404)
    ask("PUT", "/admin/v2/namespaces/public/default/unload")
    producer.send(b"last")
    # What was under way at an unload may come twice: it lies before the last message.
    while consumer.receive(10000).data() != b"last":
        pass
    consumer.close()
    producer.close()


def check_stats(ask, client):
    consumer = client.subscribe(name("seen"), "s", consumer_name="me", receiver_queue_size=1)
    producer = client.create_producer(name("seen"), producer_name="it", batching_enabled=False)
    for _ in range(10):
        producer.send(b"x" * 100)
    stats = ask("GET", f"{PUBLIC}/seen/stats", status=200)
    assert stats["msgInCounter"] == 10 and stats["bytesInCounter"] > 1000 and stats["storageSize"] > 1000, stats
    assert [one["producerName"] for one in stats["publishers"]] == ["it"], stats["publishers"]
    own = stats["subscriptions"]["s"]
    assert own["msgBacklog"] == 10 and own["type"] == "Exclusive" and own["consumers"][0]["consumerName"] == "me", own
    assert isinstance(own["lastConsumedTimestamp"], int), own
    internal = ask("GET", f"{PUBLIC}/seen/internalStats", status=200)
    assert internal["numberOfEntries"] == 10 and internal["ledgers"] and "s" in internal["cursors"], internal
    assert ":" in internal["lastConfirmedEntry"] and ":" in internal["cursors"]["s"]["markDeletePosition"], internal
    for path in ("stats", "internalStats", "subscriptions", "lastMessageId"):
        ask("GET", f"{PUBLIC}/absent/{path}", status=404)
    last = ask("GET", f"{PUBLIC}/seen/lastMessageId", status=200)
    assert last["entryId"] == 9 and last["ledgerId"] == internal["ledgers"][-1]["ledgerId"], (last, internal["ledgers"])
    consumer.close()
    producer.close()


def peek(region, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{region.ports['http']}{path}", timeout=10) as answer:
        return answer.read(), answer.headers


def check_subscriptions(ask, client):
    producer = client.create_producer(name("moved"), batching_enabled=False)
    ids = [producer.send(str(i).encode(), properties={"n": str(i)}) for i in range(10)]
    base = f"{PUBLIC}/moved"
    ask("PUT", f"{base}/subscription/a", {"ledgerId": -1, "entryId": -1})
    ask("PUT", f"{base}/subscription/a", {"ledgerId": -1, "entryId": -1}, status=409)
    ask("PUT", f"{base}/subscription/b")
    assert ask("GET", f"{base}/subscriptions", status=200) == ["a", "b"]

    def backlog(sub):
        return ask.region.stats(name("moved"))["subscriptions"][sub]["msgBacklog"]

    assert (backlog("a"), backlog("b")) == (10, 0)
    body, headers = peek(ask.region, f"{base}/subscription/a/position/3")
    assert body == b"2" and headers["X-Pulsar-Message-ID"] == f"{ids[2].ledger_id()}:{ids[2].entry_id()}", headers.items()
    assert headers["X-Pulsar-Property"] == '{"n":"2"}' and headers["X-Pulsar-producer-name"], headers.items()
    body, _ = peek(ask.region, f"{base}/ledger/{ids[4].ledger_id()}/entry/{ids[4].entry_id()}")
    assert body == b"4"
    ask("GET", f"{base}/subscription/a/position/99", status=404)
    ask("GET", f"{base}/subscription/a/position/0", status=412)
    ask("GET", f"{base}/subscription/absent/position/1", status=404)
    ask("POST", f"{base}/subscription/a/skip/4")
    assert backlog("a") == 6
    ask("POST", f"{base}/subscription/absent/skip/4", status=404)
    ask("POST", f"{base}/subscription/a/skip/many", status=412)
    here = {"ledgerId": ids[2].ledger_id(), "entryId": ids[2].entry_id()}
    ask("POST", f"{base}/subscription/a/resetcursor", here)
    assert backlog("a") == 8, backlog("a")
    ask("POST", f"{base}/subscription/a/resetcursor", {**here, "isExcluded": True})
    assert backlog("a") == 7, backlog("a")
    ask("POST", f"{base}/subscription/a/resetcursor/0")
    assert backlog("a") == 10
    ask("POST", f"{base}/subscription/a/expireMessages/3600")
    assert backlog("a") == 10
    ask("POST", f"{base}/subscription/a/skip_all")
    assert backlog("a") == 0
    ask("POST", f"{base}/subscription/b/resetcursor", {"ledgerId": -1, "entryId": -1})
    consumer = client.subscribe(name("moved"), "b")
    assert consumer.receive(10000).data() == b"0"
    ask("DELETE", f"{base}/subscription/b", status=412)
    # A reset under a live consumer: it is told, comes back, and reads from there.
    ask("POST", f"{base}/subscription/b/resetcursor", here)
    while consumer.receive(10000).data() != b"2":
        pass
    ask("DELETE", f"{base}/subscription/b?force=true")
    ask("DELETE", f"{base}/subscription/a")
    ask("DELETE", f"{base}/subscription/a", status=404)
    consumer.close()
    producer.close()


def check_deletion(ask, client):
    """A deleted topic is gone with its bytes; one in use is not deleted but by force."""
    producer = client.create_producer(name("gone"), batching_enabled=False)
    consumer = client.subscribe(name("gone"), "s")
    for _ in range(50):
        producer.send(os.urandom(100_000))
    held = used(ask.region)
    assert ask.region.stats(name("gone"))["storageSize"] >= 5_000_000
    ask("DELETE", f"{PUBLIC}/gone", status=412)
    consumer.close()
    producer.close()
    ask("DELETE", f"{PUBLIC}/gone?force=true")
    ask("GET", f"{PUBLIC}/gone/stats", status=404)
    assert name("gone") not in ask("GET", PUBLIC, status=200)
    until("its bytes are no longer counted", lambda: used(ask.region) <= held - 5_000_000)
    # The name is free for a topic that knows nothing of the old one.
    again = client.subscribe(name("gone"), "s", initial_position=EARLIEST)
    client.create_producer(name("gone")).send(b"new")
    assert again.receive(10000).data() == b"new"


def used(region):
    """Bytes that all topics hold."""
    lines = region.http("GET", "/metrics").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("pulsar_storage_size{"))


def check_termination(ask, client):
    producer = client.create_producer(name("ended"), batching_enabled=False)
    producer.send(b"first")
    last = producer.send(b"last")
    answer = ask("POST", f"{PUBLIC}/ended/terminate", status=200)
    assert (answer["ledgerId"], answer["entryId"]) == (last.ledger_id(), last.entry_id()), answer
    try:
        client.create_producer(name("ended"))
        raise AssertionError("a terminated topic takes a producer")
    except pulsar.TopicTerminated:
        pass
    consumer = client.subscribe(name("ended"), "s", initial_position=EARLIEST)
    assert [consumer.receive(10000).data() for _ in range(2)] == [b"first", b"last"]


def main():
    region = Region(sys.argv[1])
    ask, client = Asker(region), region.client()
    for check in (check_creation, check_unload, check_stats, check_subscriptions, check_deletion, check_termination):
        check(ask, client)
    client.close()
    region.stop()


main()

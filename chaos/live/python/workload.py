"""Numbered messages and their checker: what was acknowledged is there once and in order, whatever happened in between."""

import bisect
import threading
import time

import pulsar
from region import QUIET


def prepare(cluster):
    """A try of unknown outcome can be tried again, and what was consumed can be read back in the end."""
    cluster.http("POST", "/admin/v2/namespaces/public/default/deduplication", True)
    forever = {"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}
    cluster.http("POST", "/admin/v2/namespaces/public/default/retention", forever)


NEWCOMER = b"newcomer"


class Newcomers(threading.Thread):
    """A new client each quarter of a second while nodes are hurt, until one is served; they know only the others. `served_s` is
    when the first of them has a receipt. One that comes too early may be sent to a frozen owner and wait there; so each is alone."""

    def __init__(self, nodes, topic, began):
        super().__init__(daemon=True)
        self.url = "pulsar://" + ",".join(f"{node.host}:{node.ports['pulsar']}" for node in nodes)
        self.topic, self.began, self.served = topic, began, []

    @property
    def served_s(self):
        return min(self.served, default=None)

    def run(self):
        came = []
        while not self.served and time.monotonic() < self.began + 30:
            came.append(threading.Thread(target=self.come, daemon=True))
            came[-1].start()
            time.sleep(0.25)
        for one in came:
            one.join()

    def come(self):
        client = pulsar.Client(self.url, operation_timeout_seconds=5, connection_timeout_ms=5_000, logger=QUIET)
        try:
            client.create_producer(self.topic, send_timeout_millis=5_000, batching_enabled=False).send(NEWCOMER)
            self.served.append(round(time.monotonic() - self.began, 4))
        except pulsar.PulsarException:
            pass  # Another one comes.
        finally:
            client.close()


class Writer(threading.Thread):
    """Publishes numbers one by one under a fixed producer name, so that a try of unknown outcome can be tried again."""

    def __init__(self, client, topic):
        super().__init__(daemon=True)
        self.client, self.topic = client, topic
        self.name = "writer-" + topic.rsplit("/", 1)[1]
        self.receipts, self.errors, self.over = [], [], threading.Event()

    def run(self):
        producer, number = None, 0
        while not self.over.is_set():
            try:
                producer = producer or self.client.create_producer(self.topic, producer_name=self.name,
                                                                   send_timeout_millis=30_000, batching_enabled=False)
                producer.send(str(number).encode(), sequence_id=number)
            except pulsar.PulsarException as error:
                self.errors.append((time.monotonic(), number, str(error)))
                producer = close(producer)
                self.over.wait(0.1)
                continue
            self.receipts.append(time.monotonic())
            number += 1

    def since(self, began):
        """Receipts after a moment."""
        return len(self.receipts) - bisect.bisect_right(self.receipts, began)

    def longest_pause(self, began, ended):
        """Seconds of the longest time without a receipt that touches the interval."""
        times = self.receipts[max(0, bisect.bisect_right(self.receipts, began) - 1):]
        pauses = [(a, b) for a, b in zip(times, times[1:]) if b > began and a < ended]
        return round(max((b - a for a, b in pauses), default=float("inf")), 4)

    def stop(self):
        self.over.set()
        self.join(60)
        assert not self.is_alive(), f"a publish to {self.topic} has no answer for 60 s"


class Reader(threading.Thread):
    """Receives and acknowledges. After a failure messages may come again; none may be passed over."""

    def __init__(self, client, topic):
        super().__init__(daemon=True)
        self.topic, self.over = topic, threading.Event()
        self.highest, self.again, self.wrong = -1, 0, []
        self.consumer = client.subscribe(topic, "all", consumer_type=pulsar.ConsumerType.Failover,
                                         initial_position=pulsar.InitialPosition.Earliest)

    def run(self):
        while not self.over.is_set():
            try:
                message = self.consumer.receive(500)
                self.consumer.acknowledge_cumulative(message)
            except pulsar.PulsarException:
                continue
            if message.data() == NEWCOMER:
                continue
            number = int(message.data())
            self.again += number <= self.highest
            if number > self.highest + 1:
                self.wrong.append({"topic": self.topic, "after": self.highest, "came": number})
            self.highest = max(self.highest, number)

    def stop(self):
        self.over.set()
        self.join(60)


def close(producer):
    try:
        if producer is not None:
            producer.close()
    except pulsar.PulsarException:
        pass  # The broker that knew it is gone; the next one decides by the name.


def read_back(client, topic, acknowledged):
    """Compares a topic with what was acknowledged; a last try of unknown outcome may be there too. Gives what is wrong."""
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    got = []
    while len(got) < acknowledged or reader.has_message_available():
        try:
            data = reader.read_next(30_000).data()
        except pulsar.PulsarException as error:
            return [f"{topic}: reading stopped after {len(got)} of {acknowledged} messages: {error}", *compare(topic, got, acknowledged)]
        if data != NEWCOMER:
            got.append(int(data))
    reader.close()
    return compare(topic, got, acknowledged)


def compare(topic, got, acknowledged):
    """What is wrong with the numbers that were read: nothing, when they are those acknowledged, and perhaps one more."""
    if got == list(range(len(got))) and len(got) - acknowledged in (0, 1):
        return []
    missing = sorted(set(range(acknowledged)) - set(got))
    return [f"{topic}: {acknowledged} acknowledged, {len(got)} read, {len(missing)} missing {missing[:5]}, "
            f"{len(got) - len(set(got))} doubled, in order: {got == sorted(got)}"]

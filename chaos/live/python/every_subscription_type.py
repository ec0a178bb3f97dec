"""Batches through every subscription type, a reader, a seek, a partitioned topic."""

import sys

import pulsar
from region import Region

COUNT = 1000
region = Region(sys.argv[1])
client = region.client()
topic = "persistent://public/default/types"
earliest = pulsar.InitialPosition.Earliest

consumer = client.subscribe(topic, "exclusive", initial_position=earliest)
producer = client.create_producer(topic, batching_enabled=True)
for i in range(COUNT):
    producer.send_async(str(i).encode(), lambda result, _: None)
producer.flush()
for i in range(COUNT):
    message = consumer.receive(10000)
    assert message.data() == str(i).encode(), (i, message.data())
    consumer.acknowledge(message)

for kind in (pulsar.ConsumerType.Shared, pulsar.ConsumerType.KeyShared, pulsar.ConsumerType.Failover):
    other = client.subscribe(topic, str(kind), consumer_type=kind, initial_position=earliest)
    got = set()
    for _ in range(COUNT):
        message = other.receive(10000)
        got.add(message.data())
        other.acknowledge(message)
    assert len(got) == COUNT, (kind, len(got))
    other.close()

reader, read = client.create_reader(topic, pulsar.MessageId.earliest), 0
while reader.has_message_available():
    reader.read_next(10000)
    read += 1
assert read == COUNT, read

consumer.seek(pulsar.MessageId.earliest)
assert consumer.receive(10000).data() == b"0"

shared = client.subscribe(topic, "nacks", consumer_type=pulsar.ConsumerType.Shared, initial_position=earliest,
                          negative_ack_redelivery_delay_ms=100)
first = shared.receive(10000)
shared.negative_acknowledge(first)
while True:
    again = shared.receive(10000)
    shared.acknowledge(again)
    if again.message_id() == first.message_id() and again.redelivery_count() > 0:
        break

region.http("PUT", "/admin/v2/persistent/public/default/parts/partitions", 3)
parts = client.subscribe("persistent://public/default/parts", "s", initial_position=earliest)
sender = client.create_producer("persistent://public/default/parts")
for i in range(30):
    sender.send(str(i).encode())
assert {parts.receive(10000).data() for _ in range(30)} == {str(i).encode() for i in range(30)}
client.close()
region.stop()

"""kill -9 in the middle of publishing and acknowledging: nothing acknowledged is lost, no kept acknowledgement is forgotten."""

import sys

import pulsar
from region import Region, until

region = Region(sys.argv[1])
client = region.client()
topic = "persistent://public/default/killed"
consumer = client.subscribe(topic, "s", consumer_type=pulsar.ConsumerType.Shared,
                            initial_position=pulsar.InitialPosition.Earliest)
producer = client.create_producer(topic, batching_enabled=False)
for round in range(3):
    sent = []
    for i in range(300):
        name = f"{round}:{i}"
        producer.send(name.encode())
        sent.append(name)
    kept = set()
    for _ in range(200):
        message = consumer.receive(10000)
        consumer.acknowledge(message)
        kept.add(message.data().decode())
    until("acknowledgements counted",
          lambda: region.stats(topic)["subscriptions"]["s"]["msgBacklog"] == len(sent) - len(kept))
    region.kill()
    region.start()
    rest = []
    while len(rest) < len(sent) - len(kept):
        message = consumer.receive(20000)
        rest.append(message.data().decode())
        consumer.acknowledge(message)
    assert set(rest) | kept == set(sent), f"missing {set(sent) - kept - set(rest)}"
    assert not kept & set(rest), f"acknowledged and delivered again: {kept & set(rest)}"
client.close()
region.stop()

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


def backlog():
    return region.stats(topic)["subscriptions"]["s"]["msgBacklog"]


def keep(messages):
    """Acknowledges and waits for the answers: only what was answered is promised."""
    with region.raw() as connection:
        connection.log_in()
        connection.ask("subscribe", topic=topic, subscription="s", type=1, consumer_id=1)
        ids = [{"ledger": one.message_id().ledger_id(), "entry": one.message_id().entry_id()} for one in messages]
        for at in range(0, len(ids), 20):
            name, answer = connection.ask("ack", consumer_id=1, type=0, message_id=ids[at:at + 20])
            assert name == "ack_response" and "error" not in answer, (name, answer)
    return {one.data().decode() for one in messages}


for round in range(3):
    sent = []
    for i in range(300):
        name = f"{round}:{i}"
        producer.send(name.encode())
        sent.append(name)
    kept = keep([consumer.receive(10000) for _ in range(200)])
    region.kill()
    region.start()
    rest = set()

    def all_are_here():
        """The client hands out what it held before the kill; the server never sees those acknowledgements, and sends again."""
        try:
            while True:
                message = consumer.receive(100)
                rest.add(message.data().decode())
                consumer.acknowledge(message)
        except pulsar.Timeout:
            return rest | kept >= set(sent) and backlog() == 0

    until("the rest received and acknowledged", all_are_here)
    assert rest | kept == set(sent), f"never sent: {rest - set(sent)}"
    assert not kept & rest, f"acknowledged and delivered again: {kept & rest}"
client.close()
region.stop()

"""The official client against several services in turn, in the same minutes: `beside.py OUT NAME=URL NAME=URL …`.

Each service speaks the Pulsar protocol and has just been started; who starts them says their durability class. Each round runs
every service once, in an order that turns, so that a drift of the machine meets all of them. OUT gets the raw numbers.
"""

import json
import os
import statistics
import sys
import time

import pulsar

SMALL = bytes(range(256)) * 4
ROUNDS = 9
COUNT = 100_000
ALONE = 300


def publish(producer, count):
    """Megabytes of payload per second until the last receipt."""
    failed = []
    began = time.monotonic()
    for _ in range(count):
        producer.send_async(SMALL, lambda result, _: result != pulsar.Result.Ok and failed.append(result))
    producer.flush()
    took = time.monotonic() - began
    assert not failed, failed[:3]
    return round(count * len(SMALL) / 1e6 / took, 2)


def alone(producer):
    """Milliseconds from one publish to its receipt, one at a time: sorted."""
    times = []
    for _ in range(ALONE):
        began = time.monotonic()
        producer.send(SMALL)
        times.append(round(1000 * (time.monotonic() - began), 3))
    return sorted(times)


def consume(client, topic):
    """Megabytes per second of reading from the beginning what is stored, without acks."""
    reader = client.create_reader(topic, pulsar.MessageId.earliest, receiver_queue_size=10_000)
    reader.read_next(timeout_millis=20_000)
    began = time.monotonic()
    for _ in range(COUNT - 1):
        reader.read_next(timeout_millis=20_000)
    took = time.monotonic() - began
    reader.close()
    return round(COUNT * len(SMALL) / 1e6 / took, 2)


def one_round(url, number):
    topic = f"persistent://public/default/beside-{os.getpid()}-{number}"
    client = pulsar.Client(url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    keep = client.subscribe(topic, "keep")
    batches = client.create_producer(topic, block_if_queue_full=True, batching_enabled=True, max_pending_messages=10_000)
    publish(batches, 20_000)
    result = {"publish_mb_per_s": publish(batches, COUNT), "read_mb_per_s": consume(client, topic)}
    times = alone(client.create_producer(topic, batching_enabled=False))
    result |= {"receipt_p50_ms": times[ALONE // 2], "receipt_p99_ms": times[ALONE * 99 // 100]}
    keep.close()
    client.close()
    return result


def main():
    out, services = sys.argv[1], [argument.split("=", 1) for argument in sys.argv[2:]]
    rounds = []
    for number in range(ROUNDS):
        turned = services[number % len(services):] + services[:number % len(services)]
        rounds.append({name: one_round(url, number) for name, url in turned})
        print(json.dumps(rounds[-1]), flush=True)
    middle = {name: {key: statistics.median(r[name][key] for r in rounds) for key in rounds[0][name]} for name, _ in services}
    print(json.dumps({"median": middle}))
    with open(out, "w") as file:
        json.dump({"machine": {"cores": os.cpu_count(), "at": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())},
                   "client": pulsar.__version__, "count": COUNT, "rounds": rounds, "median": middle}, file, indent=1)


main()

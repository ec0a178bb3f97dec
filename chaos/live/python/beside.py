"""The official client against several services in turn, in the same minutes: `beside.py OUT NAME=URL NAME=URL …`.

Each service speaks the Pulsar protocol and has just been started; who starts them says their durability class. Each round runs
every service once, in an order that turns, so that a drift of the machine meets all of them. OUT gets the raw numbers.

A client publishes from one thread and runs its callbacks on another, and both need the interpreter's lock. With an idle core at
hand they hand it to each other for every message, which costs more than all the rest, and the busier the service keeps that core,
the less. So one client is measured as it comes and on one core, and two clients at once: what keeps the machine busy.
"""

import json
import multiprocessing
import os
import statistics
import sys
import time

import pulsar

SMALL = bytes(range(256)) * 4
ROUNDS = 9
COUNT = 100_000
WARM_UP = 20_000
ALONE = 300


def rate(count, seconds):
    """Megabytes of payload per second."""
    return round(count * len(SMALL) / 1e6 / seconds, 2)


def publish(producer, count):
    """Returns when the last receipt is there."""
    failed = []
    for _ in range(count):
        producer.send_async(SMALL, lambda result, _: result != pulsar.Result.Ok and failed.append(result))
    producer.flush()
    assert not failed, failed[:3]


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
    return rate(COUNT, took)


def client_of(url, topic, cores, start, results):
    """One client in its own process: when it published from and until, then alone what else is measured."""
    if cores:
        os.sched_setaffinity(0, cores)
    client = pulsar.Client(url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    client.subscribe(topic, "keep")
    batches = client.create_producer(topic, block_if_queue_full=True, batching_enabled=True, max_pending_messages=10_000)
    publish(batches, WARM_UP)
    start.wait()
    began = time.monotonic()
    publish(batches, COUNT)
    ended = time.monotonic()
    result = {"began": began, "ended": ended}
    if start.parties == 1:
        times = alone(client.create_producer(topic, batching_enabled=False))
        result |= {"read": consume(client, topic), "p50": times[ALONE // 2], "p99": times[ALONE * 99 // 100]}
    results.put(result)
    client.close()


def clients(url, topic, count=1, cores=None):
    """Runs clients at once: (megabytes per second of all, the last result)."""
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(count), spawn.Queue()
    working = [spawn.Process(target=client_of, args=(url, f"{topic}-{n}", cores, start, results)) for n in range(count)]
    for process in working:
        process.start()
    done = [results.get(timeout=120) for _ in working]
    for process in working:
        process.join()
    took = max(result["ended"] for result in done) - min(result["began"] for result in done)
    return rate(count * COUNT, took), done[-1]


def one_round(url, number):
    topic = f"persistent://public/default/beside-{os.getpid()}-{number}"
    result = {}
    result["publish_mb_per_s"], one = clients(url, f"{topic}-free")
    result |= {"read_mb_per_s": one["read"], "receipt_p50_ms": one["p50"], "receipt_p99_ms": one["p99"]}
    result["one_core_publish_mb_per_s"], pinned = clients(url, f"{topic}-pinned", cores={0})
    result["one_core_read_mb_per_s"] = pinned["read"]
    result["two_clients_publish_mb_per_s"], _ = clients(url, f"{topic}-two", count=2)
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


if __name__ == "__main__":
    main()

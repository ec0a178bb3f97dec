"""Measures a release build beside what the disk allows, and keeps the raw data: `cargo xtask bench [FOLDER]`.

Durability class: D2, one copy, written and synced before the receipt; with three nodes D3, two of three. Every leg of `meridian bench` measures
the raw disk right before and after itself; a leg during which the disk drifted says so and counts for nothing.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pulsar
from cluster import Cluster
from region import BINARY, Region, joined, until

OUT = os.path.abspath(sys.argv[1])
os.makedirs(OUT, exist_ok=True)
work = tempfile.TemporaryDirectory(dir=OUT)
FOLDER = work.name
FOREVER = {"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}
SMALL = bytes(range(256)) * 4
results = {}


def note(name, value):
    results[name] = value
    print(f"{name}: {json.dumps(value)}", flush=True)


def rss_mib(region, which="VmRSS"):
    status = open(f"/proc/{region.process.pid}/status").read()
    return round(int(status.split(f"{which}:")[1].split()[0]) / 1024, 1)


def bench(scenario, region, name, *flags, nodes=(), before=()):
    """A leg against one server, or against one of several `nodes` that are looked at together."""
    pids = ",".join(str(node.process.pid) for node in nodes or [region])
    command = [*before, BINARY, "bench", scenario, "--service-url", f"pulsar://127.0.0.1:{region.ports['pulsar']}",
               "--server-pid", pids, "--disk", FOLDER, "--out", os.path.join(OUT, f"{name}.json"), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    print("\n".join(f"    {line}" for line in (done.stdout + done.stderr).splitlines()), flush=True)
    done.check_returncode()
    return json.load(open(os.path.join(OUT, f"{name}.json")))


def middle(values):
    values = sorted(value for value in values if value is not None)
    return round(values[len(values) // 2], 3) if values else None


def timed(act):
    began = time.monotonic()
    act()
    return round(time.monotonic() - began, 3)


@contextlib.contextmanager
def server(name, *flags):
    region = Region(FOLDER, name, *flags)
    try:
        yield region
    finally:
        region.stop()


def start_and_rest():
    took = timed(lambda: subprocess.run([BINARY, "--version"], check=True, capture_output=True))
    note("version_s", took)
    began = time.monotonic()
    with server("idle") as region:
        note("ready_s", round(time.monotonic() - began, 3))
        note("idle_rss_mib", rss_mib(region))


def latency():
    with server("latency") as region:
        rounds = bench("latency", region, "latency", "--rounds", "5", "--seconds", "6")["rounds"]
        for name in ("p50", "p99"):
            note(f"R4_latency_ratio_{name}", middle(r[f"ratio_paced_{name}"] for r in rounds))
            note(f"R4_latency_ratio_loop_{name}", middle(r[f"ratio_loop_{name}"] for r in rounds))


def publish():
    with server("publish") as region:
        rounds = bench("publish", region, "publish", "--rounds", "7", "--seconds", "4")["rounds"]
        note("R1_ratio_to_sink", middle(r["ratio_to_sink"] for r in rounds))
        note("publish_mb_per_s", middle(r["mb_per_s"] for r in rounds))
        note("R5_server_cpu_s_per_gb", middle(r["server"]["cpu_s_per_gb"] for r in rounds))
        note("R3_written_per_payload", middle(r["server"]["written_per_payload"] for r in rounds))
        single = bench("publish", region, "publish-unbatched", "--batch", "1", "--window", "1000", "--seconds", "4")
        note("unbatched_mb_per_s", middle(r["mb_per_s"] for r in single["rounds"]))
        note("unbatched_server_cpu_s_per_million", middle(r["server"]["cpu_s_per_million"] for r in single["rounds"]))


@contextlib.contextmanager
def nodes_of(who):
    """The nodes of a new region: one, three, or three whose entries travel in clear. What it stored goes with it."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, contextlib.ExitStack() as after:
        if who == "single":
            nodes = [Region(folder, who)]
            after.callback(nodes[0].stop)
        else:
            cluster = Cluster(folder, extra="encrypt_entries = false" if who == "clear" else "")
            nodes = cluster.nodes
            after.callback(cluster.stop)
            time.sleep(3)  # Until the first beats of a new region are over.
        yield nodes


def three_nodes():
    """A region of three nodes on this one disk beside a single node, in turn: receipts after two of three copies are synced."""
    idle, peak = [], []
    for name, scenario, flags in [("publish", "publish", ("--rounds", "1", "--seconds", "4")),
                                  ("latency", "latency", ("--rounds", "1", "--seconds", "6"))]:
        legs = {who: [] for who in ("single", "three", "clear")}
        for number in range(5):
            for who in list(legs)[::1 if number % 2 else -1]:
                with nodes_of(who) as nodes:
                    idle += [rss_mib(node) for node in nodes if who == "three"]
                    told = bench(scenario, nodes[0], f"three-nodes-{name}-{who}-{number}", *flags, nodes=nodes)
                    peak += [rss_mib(node, "VmHWM") for node in nodes if who == "three"]
                    legs[who] += told["rounds"]
        compare_three(name, "three_nodes", legs["single"], legs["three"])
        compare_three(name, "three_nodes_entries_in_clear", legs["single"], legs["clear"])
    with nodes_of("three") as nodes:
        for in_flight in ("64", "512"):
            flags = ("--count", "6000", "--in-flight", in_flight)
            _, leg = bench("topics", nodes[0], f"three-nodes-topics-{in_flight}", *flags, nodes=nodes)["legs"]
            note(f"R12_topic_creates_per_raw_sync_with_{in_flight}_in_flight", round(leg["creates_per_raw_sync"], 1))
            note(f"R12_topic_creates_per_s_with_{in_flight}_in_flight", round(leg["count"] / leg["seconds"]))
        peak += [rss_mib(node, "VmHWM") for node in nodes]
    note("three_nodes_idle_rss_mib_max", max(idle))
    note("three_nodes_peak_rss_mib_max", max(peak))


class SlowDisk:
    """Stands before the servers of a cluster: every sync takes so much longer."""

    def __init__(self, delay_us):
        self.hosts = ["127.0.0.1"] * 3
        self.words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync",
                      "-e", f"inject=fdatasync,fsync:delay_enter={delay_us}"]

    def command(self, _):
        return self.words


def topics_on_slow_disks():
    """R12 where a sync costs what it costs on other disks: the raw syncs beside it are held back alike. Needs strace."""
    for delay_ms, count in ((1, 3000), (2, 3000), (5, 1500)):
        disk = SlowDisk(1000 * delay_ms)
        with contextlib.ExitStack() as after:
            three = Cluster(os.path.join(FOLDER, f"slow-{delay_ms}"), net=disk)
            after.callback(three.stop)
            flags = ("--count", str(count), "--in-flight", "1024")
            name = f"topics-syncs-of-{delay_ms}-ms"
            _, leg = bench("topics", three.nodes[0], name, *flags, nodes=three.nodes, before=disk.words)["legs"]
            note(f"R12_topic_creates_per_raw_sync_of_{delay_ms}_ms", round(leg["creates_per_raw_sync"], 1))
            note(f"R12_topic_creates_per_s_at_syncs_of_{delay_ms}_ms", round(leg["count"] / leg["seconds"]))


def compare_three(name, said, single, three):
    ratio = lambda of: middle(of(b) / of(a) for a, b in zip(single, three))
    if name == "publish":
        note(f"{said}_publish_mb_per_s", middle(r["mb_per_s"] for r in three))
        note(f"{said}_publish_to_single", ratio(lambda r: r["mb_per_s"]))
        note(f"{said}_cpu_s_per_gb", middle(r["server"]["cpu_s_per_gb"] for r in three))
        note(f"{said}_cpu_per_gb_to_single", ratio(lambda r: r["server"]["cpu_s_per_gb"]))
    else:
        for share in ("p50", "p99"):
            note(f"{said}_latency_ms_{share}", middle(r["latency_from_send"][share] / 1000 for r in three))
            note(f"{said}_latency_{share}_to_single", ratio(lambda r: r["latency_from_send"][share]))


def official_client():
    """The official Python client, its own batching, receipts awaited."""
    with server("python") as region:
        client = region.client()
        producer = client.create_producer("bench", block_if_queue_full=True, batching_enabled=True,
                                          max_pending_messages=10000)

        def run(count=200_000):
            for _ in range(count):
                producer.send_async(SMALL, lambda result, _: None)
            producer.flush()

        run(20_000)
        note("python_client_mb_per_s", middle(200_000 * len(SMALL) / 1e6 / timed(run) for _ in range(3)))
        client.close()


def topics():
    with server("topics") as region:
        legs = bench("topics", region, "topics", "--count", "1000")["legs"]
        note("topics_1000_one_by_one_s", round(legs[0]["seconds"], 2))
        note("topics_1000_with_64_in_flight_s", round(legs[1]["seconds"], 2))
    with server("many-topics") as region:
        bench("topics", region, "many-topics", "--count", "5000", "--subscription", "s")
        note("topics_10000_subscribed_rss_mib", rss_mib(region))
        rounds = bench("publish", region, "publish-many-topics", "--rounds", "3", "--seconds", "3")["rounds"]
        note("publish_mb_per_s_beside_10000_topics", middle(r["mb_per_s"] for r in rounds))
        note("server_cpu_s_per_gb_beside_10000_topics", middle(r["server"]["cpu_s_per_gb"] for r in rounds))


def recovery():
    region = Region(FOLDER, "recovery")
    region.http("POST", "/admin/v2/namespaces/public/default/retention", FOREVER)
    while log_gib(region) < 1.0:
        bench("publish", region, "recovery-load", "--rounds", "1", "--seconds", "3")
    note("recovery_log_gib", round(log_gib(region), 2))
    times = []
    for _ in range(5):
        region.kill()
        times.append(timed(region.start))
    note("recovery_ready_s", times)
    region.stop()


def log_gib(region):
    folder = os.path.join(region.folder, "log")
    return sum(os.stat(os.path.join(folder, name)).st_blocks * 512 for name in os.listdir(folder)) / 2**30


def geo():
    regions = joined(FOLDER)
    east, west = regions["east"], regions["west"]
    lag = bench("geo", east, "geo-lag", "--to-url", f"pulsar://127.0.0.1:{west.ports['pulsar']}",
                "--topic", "acme/orders/lag", "--seconds", "10")["lag"]
    note("geo_lag_ms", {key: lag[key] / 1000 for key in lag if key.startswith("p")})
    catch_up(east, west)
    for region in regions.values():
        region.stop()


def catch_up(east, west):
    """1 GiB of backlog builds up while the other region is frozen; then live traffic goes on beside it."""
    topic = "persistent://acme/orders/backlog"
    with contextlib.closing(east.client()) as client, contextlib.closing(west.client()) as far:
        far.subscribe(topic, "keep", initial_position=pulsar.InitialPosition.Earliest)
        producer = client.create_producer(topic, block_if_queue_full=True, batching_enabled=True,
                                          max_pending_messages=20000)
        live = client.create_producer("persistent://acme/orders/live")
        producer.send(b"first")
        backlog = lambda: east.stats(topic)["replication"]["west"]["replicationBacklog"]
        until("the link works", lambda: backlog() == 0)
        west.freeze()
        body = os.urandom(64 << 10)
        for _ in range((1 << 30) // len(body)):
            producer.send_async(body, lambda result, _: None)
        producer.flush()
        stop, waits = threading.Event(), []

        def go_on():
            while not stop.wait(0.01):
                waits.append(timed(lambda: live.send(b"live")))

        thread = threading.Thread(target=go_on)
        thread.start()
        west.process.send_signal(signal.SIGCONT)
        took = timed(lambda: until("the backlog is gone", lambda: backlog() == 0, 300))
        stop.set()
        thread.join()
    note("geo_catch_up_mb_per_s", round((1 << 30) / 1e6 / took, 1))
    note("live_publish_during_catch_up_ms", {"p50": round(1000 * middle(waits), 2), "max": round(1000 * max(waits), 2)})


def main():
    note("machine", {"cores": os.cpu_count(), "load_before": os.getloadavg(), "at": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())})
    chosen = sys.argv[2:] or ["start_and_rest", "latency", "publish", "official_client", "topics", "recovery", "geo", "three_nodes"]
    for part in chosen:
        globals()[part]()
    with open(os.path.join(OUT, "summary.json"), "w") as file:
        json.dump(results, file, indent=2)
    work.cleanup()


main()

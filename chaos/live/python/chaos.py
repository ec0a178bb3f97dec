"""A region of three real nodes under load, hurt again and again: `chaos.py OUT MINUTES [SEED|chance] [--trials N] [FAULT…]`.

Each trial hurts one node, heals it, and measures the longest time without a receipt (R10). It goes on for MINUTES, or until each
fault had N trials. In the end every topic is read back and compared with what was acknowledged. OUT gets report.json, report.md
and history.jsonl. `cargo xtask chaos` runs it.
"""

import argparse

import json
import os
import random
import shutil
import sys
import time

import pulsar

import faults
import netns
from cluster import Cluster
from region import until
from workload import Newcomers, Reader, Writer, prepare, read_back

TOPICS = 6
SETTLED = 20  # receipts on every topic before and after each trial
# R10: what publishing may pause for, of which faults, and from how many trials on a p99 says something.
PAUSE_MAX_S, JUDGED, ENOUGH = 2.0, ("kill owner", "kill leader", "kill other", "stop owner"), 30


class Chaos:
    def __init__(self, out, seed, net):
        self.out, self.random, self.net = out, random.Random(seed), net
        self.cluster = Cluster(os.path.join(out, "region"), net=self.net)
        try:
            self.load()
        except BaseException:
            self.cluster.stop()
            raise

    def load(self):
        prepare(self.cluster)
        self.client = self.cluster.client(operation_timeout_seconds=30)
        topics = [f"persistent://public/default/load-{i}" for i in range(TOPICS)]
        self.readers = [Reader(self.client, topic) for topic in topics]
        self.writers = [Writer(self.client, topic) for topic in topics]
        for thread in (*self.readers, *self.writers):
            thread.start()
        self.history = open(os.path.join(self.out, "history.jsonl"), "w")
        self.trials, self.not_run = [], {}

    def settled(self, since, seconds=60):
        until("receipts on every topic", lambda: all(w.since(since) >= SETTLED for w in self.writers), seconds)

    def victim(self, what):
        """The node to hurt and the writers whose topics it owns."""
        owners = [self.cluster.owner(writer.topic) for writer in self.writers]
        leader = self.cluster.leader()
        choices = {"owner": sorted({node.index for node in owners}), "leader": [leader.index],
                   "other": [n.index for n in self.cluster.nodes if n is not leader and n not in owners]}
        wanted = choices[what] or [n.index for n in self.cluster.nodes if n is not leader]
        node = self.cluster.nodes[self.random.choice(wanted)]
        return node, [writer for writer, owner in zip(self.writers, owners) if owner is node]

    def trial(self, fault):
        self.settled(time.monotonic())
        node, owned = self.victim(fault.victim)
        began, errors = time.monotonic(), sum(len(w.errors) for w in self.writers)
        node.unwell = True
        began = fault.inject(self.cluster, self.net, node) or began
        others = [one for one in self.cluster.nodes if one is not node]
        newcomers = Newcomers(others, owned[0].topic, began) if owned else None
        if newcomers:
            newcomers.start()
        time.sleep(max(0, began + fault.hold_s - time.monotonic()))  # How long it lasts is what the fault is.
        healed = time.monotonic()
        fault.heal(self.cluster, self.net, node)
        node.unwell = False
        self.settled(time.monotonic())
        if newcomers:
            newcomers.join()
        ended = time.monotonic()
        pause = lambda writers: max((w.longest_pause(began, ended) for w in writers), default=None)
        told = {"fault": fault.name, "table": fault.number, "node": node.index, "topics_owned": len(owned),
                "pause_owned_s": pause(owned), "pause_s": pause(self.writers), "newcomer_s": newcomers and newcomers.served_s,
                "held_s": round(healed - began, 2), "whole_s": round(ended - began, 2),
                "client_errors": sum(len(w.errors) for w in self.writers) - errors}
        self.trials.append(told)
        self.history.write(json.dumps(told) + "\n")
        self.history.flush()
        print(json.dumps(told), flush=True)

    def run(self, minutes, trials, chosen):
        """Each fault once, and again in another order: `trials` times, or while there is time."""
        deadline = time.monotonic() + 60 * minutes
        every = faults.all_faults()
        able = {name: every[name] for name in chosen or every}
        for name, fault in list(able.items()):
            why_not = fault.why_not(self.net)
            if why_not:
                self.not_run[name] = why_not
                del able[name]
        rounds = 0
        goes_on = lambda: rounds < trials if trials else rounds == 0 or time.monotonic() < deadline
        while able and goes_on():
            order = list(able.values())
            self.random.shuffle(order)
            for fault in order:
                if goes_on():
                    self.trial(fault)
            rounds += 1

    def verdict(self):
        """What is wrong with the data after everything: nothing, if all promises were kept."""
        wrong = []
        for writer in self.writers:
            writer.over.set()
        for writer, reader in zip(self.writers, self.readers):
            try:
                writer.stop()
                wrong += read_back(self.client, writer.topic, len(writer.receipts))
                until("the reader is at the end", lambda: reader.highest >= len(writer.receipts) - 1, 60)
            except (AssertionError, SystemExit, pulsar.PulsarException) as failed:
                wrong.append(f"{writer.topic}: {failed}")
            reader.stop()
            wrong += reader.wrong
        for writer in self.writers:
            for number, at in enumerate(writer.receipts):
                self.history.write(json.dumps({"topic": writer.topic, "number": number, "receipt": round(at, 4)}) + "\n")
            for at, number, error in writer.errors:
                self.history.write(json.dumps({"topic": writer.topic, "number": number, "error": error, "at": round(at, 4)}) + "\n")
        return wrong

    def close(self):
        self.history.close()
        self.client.close()
        self.cluster.stop()


def at(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def table(trials):
    rows = {}
    for name in sorted({trial["fault"] for trial in trials}):
        mine = [trial for trial in trials if trial["fault"] == name]
        # R10 is about the topics that the hurt node owned; without any, about all.
        pauses = [t["pause_s"] if t["pause_owned_s"] is None else t["pause_owned_s"] for t in mine]
        came = [t["newcomer_s"] for t in mine if t["newcomer_s"] is not None]
        rows[name] = {"table": mine[0]["table"], "trials": len(mine), "p50_s": at(pauses, 0.5), "p99_s": at(pauses, 0.99),
                      "max_s": max(pauses), "whole_max_s": max(t["whole_s"] for t in mine),
                      "newcomer_p50_s": at(came, 0.5), "newcomer_p99_s": at(came, 0.99),
                      "client_errors": sum(t["client_errors"] for t in mine)}
    return rows


def goal(rows):
    """R10 in one sentence."""
    few = [name for name in JUDGED if name not in rows or rows[name]["trials"] < ENOUGH]
    if few:
        return f"R10 (p99 <= {PAUSE_MAX_S} s) not judged: fewer than {ENOUGH} trials of {', '.join(few)}"
    over = [f"{name} {rows[name]['p99_s']} s" for name in JUDGED if rows[name]["p99_s"] > PAUSE_MAX_S]
    return f"R10 (p99 <= {PAUSE_MAX_S} s) " + (f"NOT MET: {', '.join(over)}" if over else f"met by {', '.join(JUDGED)}")


def write_report(out, seed, began, chaos, wrong):
    rows = table(chaos.trials)
    receipts, minutes = sum(len(writer.receipts) for writer in chaos.writers), round((time.monotonic() - began) / 60, 1)
    verdict = [f"WRONG: {wrong}" if wrong else "nothing lost, doubled or out of order", goal(rows)]
    told = {"seed": seed, "minutes": minutes, "cores": os.cpu_count(), "acknowledged": receipts, "wrong": wrong, "verdict": verdict,
            "received_again": sum(r.again for r in chaos.readers), "not_run": chaos.not_run, "faults": rows, "trials": chaos.trials}
    with open(os.path.join(out, "report.json"), "w") as file:
        json.dump(told, file, indent=1)
    with open(os.path.join(out, "report.md"), "w") as file:
        file.write(f"# {len(chaos.trials)} faults in {minutes} minutes, seed {seed}, {os.cpu_count()} cores\n\n")
        file.write(f"{receipts} messages acknowledged on {TOPICS} topics; {verdict[0]}. {verdict[1]}.\n\n")
        file.write("The pause is the longest time without a receipt, on the topics that the hurt node owned; if it owned none, on any. New clients "
                   "come all the time, know the other nodes, and publish to a topic of the hurt node: the first receipt of any counts.\n\n")
        file.write("| fault | table | trials | pause p50 s | p99 s | max s | new client p50 s | p99 s | errors seen by clients |\n"
                   "|---|---|---|---|---|---|---|---|---|\n")
        for name, row in rows.items():
            file.write("| " + " | ".join(str(cell) for cell in (name, row["table"], row["trials"], row["p50_s"], row["p99_s"],
                                                               row["max_s"], row["newcomer_p50_s"], row["newcomer_p99_s"],
                                                               row["client_errors"])) + " |\n")
        for name, why in chaos.not_run.items():
            file.write(f"| {name} | | NOT RUN: {why} | | | | |\n")


def main(out, minutes, seed, chosen, trials=0):
    print(f"seed {seed}", flush=True)
    shutil.rmtree(os.path.join(out, "region"), ignore_errors=True)
    os.makedirs(os.path.join(out, "region"))
    began, stopped = time.monotonic(), []
    net = None if netns.possible() else netns.Net(3)
    try:
        chaos = Chaos(out, seed, net)
        try:
            try:
                chaos.run(minutes, trials, chosen)
            except (AssertionError, SystemExit) as ended:
                # What was measured until then is told, and that it did not go on.
                stopped = [f"stopped after {len(chaos.trials)} trials: {ended}"]
            wrong = stopped + chaos.verdict()
            write_report(out, seed, began, chaos, wrong)
            print(open(os.path.join(out, "report.md")).read(), flush=True)
            assert not wrong, wrong
        finally:
            chaos.close()
    finally:
        if net:
            net.remove()
    return chaos.trials, chaos.not_run


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=os.path.abspath)
    parser.add_argument("minutes", type=float)
    parser.add_argument("seed", nargs="?", default="chance", type=lambda given: given if given == "chance" else int(given))
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("faults", nargs="*", metavar="fault", help=", ".join(faults.all_faults()))
    given = parser.parse_intermixed_args()
    unknown = [name for name in given.faults if name not in faults.all_faults()]
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}; known are {', '.join(faults.all_faults())}")
    return given


if __name__ == "__main__":
    given = arguments()
    main(given.out, given.minutes, random.randrange(1 << 32) if given.seed == "chance" else given.seed, given.faults, given.trials)

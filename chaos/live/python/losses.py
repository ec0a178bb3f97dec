"""A region of three nodes loses the owner of a topic again and again, each time soon after the one before is back.
Its entries travel in clear."""

import json
import os
import sys
import time

from cluster import Cluster
from steady import TOPIC, Writer, read_all

# Promise P5 says 2 s on machines of their own; here three nodes and the clients share two cores.
PAUSE_MAX_S = 4
LOSSES = 4


def main(folder):
    cluster, pauses = Cluster(folder, extra="encrypt_entries = false"), []
    try:
        writer = Writer(cluster)
        writer.start()
        writer.goes_on("at first")
        for _ in range(LOSSES):
            node, began = cluster.owner(TOPIC), time.monotonic()
            node.kill()
            writer.goes_on("after the owner was killed", seconds=60)
            pauses.append(writer.longest_pause_since(began))
            node.start()
            # Soon enough that nothing could be copied in between.
            writer.goes_on("for a moment", count=20)
        writer.stop()
        got = read_all(cluster, len(writer.sent))
        assert got == writer.sent, "a message with a receipt is missing, doubled or out of order"
        assert max(pauses) <= PAUSE_MAX_S, f"publishing paused for {pauses} s"
    finally:
        print(json.dumps({"pauses_s": pauses}), flush=True)
        cluster.stop()
    with open(os.path.join(folder, "history.json"), "w") as file:
        json.dump({"pauses_s": pauses, "sent": len(writer.sent)}, file)


main(sys.argv[1])

"""The short form of chaos.py: a region of three under load is hurt in eight ways, and nothing acknowledged is lost."""

import sys

import chaos
import faults
from workload import compare

FAULTS = ["kill owner", "kill leader", "freeze owner", "stop owner", "apart owner", "mute leader", "slow-disk other",
          "sync-fails owner"]

# The checker first: it says nothing of what is right, and something of each thing that can be wrong.
assert compare("t", [0, 1, 2], 3) == compare("t", [0, 1, 2, 3], 3) == []
assert all(compare("t", got, 3) for got in ([0, 1], [0, 2], [0, 1, 1, 2], [0, 2, 1], [0, 1, 2, 3, 4], [1, 2, 3]))

trials, not_run = chaos.main(sys.argv[1], 0, 1, FAULTS)
assert sorted([trial["fault"] for trial in trials] + list(not_run)) == sorted(FAULTS)
able = [name for name in FAULTS if not faults.all_faults()[name].needs_net and not faults.all_faults()[name].needs_strace]
assert set(able) <= {trial["fault"] for trial in trials}, "what every machine can do was not done"

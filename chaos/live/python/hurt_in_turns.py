"""The short form of chaos.py: a region of three under load is hurt in seven ways, and nothing acknowledged is lost."""

import sys

import chaos

FAULTS = ["kill owner", "kill leader", "freeze owner", "apart owner", "mute leader", "slow-disk other", "sync-fails owner"]

# Long enough to begin each once, whatever it costs.
trials = chaos.main(sys.argv[1], 0.6, 1, FAULTS)
assert trials, "no fault could be tried"

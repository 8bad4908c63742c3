"""How much is broken: a little in CI, all of it in `make soak`."""

import os

SOAK = os.environ.get("SWEEPS_SOAK") == "1"
HOUR = 3600

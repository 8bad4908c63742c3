"""How much is broken: a little in CI, all of it in `make soak`."""

import os

import pytest

SOAK = os.environ.get("SWEEPS_SOAK") == "1"
HOUR = 3600
in_soak = pytest.mark.skipif(not SOAK, reason="takes minutes: make soak")

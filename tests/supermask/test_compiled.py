import os
import shutil
from collections.abc import Callable

import pytest

COMPILER = any(name and shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++", "c++"))
CODE = """
import torch
from supermask import data
from supermask.config import TrainConfig
from supermask.pack import Pack

torch.set_num_threads(1)
digits = data.load("digits")
shared = {"dataset": "digits", "width": 0.05, "batch_size": 300, "epochs": 3}
configs = [TrainConfig(**shared, seed=1, pruning_rate=0.6, learning_rate=0.1),
           TrainConfig(**shared, seed=2, pruning_rate=0.2, momentum=0.5)]
eager, compiled = (Pack(configs, digits, dtype=torch.float64, compiled=compiled) for compiled in (False, True))
for _ in range(3):
    own, other = eager.train_epoch(), compiled.train_epoch()
    for a, b in zip(own, other, strict=True):
        for name in ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted"):
            assert abs(getattr(a, name) - getattr(b, name)) < 1e-9, (name, a, b)
theirs = compiled.state_dict()
for name, value in eager.state_dict().items():
    if isinstance(value, torch.Tensor):
        torch.testing.assert_close(theirs[name], value, rtol=1e-9, atol=1e-9)
for lane in eager.lanes:
    mine, found = eager.mask(lane), compiled.mask(lane)
    assert all(torch.equal(mine[name], found[name]) for name in mine)

from torch._dynamo.utils import counters
print(counters["stats"]["unique_graphs"], "programs", sum(counters["graph_break"].values()), "graph breaks")
"""


@pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler, and none is installed")
def test_the_compiled_program_equals_the_eager_one(fresh_process: Callable[[str], str]) -> None:
    # The whole step, and the counts; graph breaks would leave parts of them eager.
    assert fresh_process(CODE) == "2 programs 0 graph breaks"


MANY_SHAPES = """
import functools
import torch
from torch._dynamo import config as dynamo
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.pack import Pack

dynamo.fail_on_recompile_limit_hit = True
torch.set_num_threads(1)
torch.compile = functools.partial(torch.compile, backend="eager")
images, labels = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8), torch.arange(8) % 4
config = TrainConfig(network="conv8", dataset="folder:x", width=0.02, batch_size=6)
pack = Pack([config, config], Dataset("folder:x", images, labels, images, labels, classes=4), compiled=True)
pack.train_epoch()
pack.drop([0])
pack.train_epoch()
"""


def test_a_deep_network_and_a_dropped_lane_stay_compiled(fresh_process: Callable[[str], str]) -> None:
    # 11 layer shapes and 2 numbers of lanes: past its limit of 8 Dynamo would go on eagerly, with a warning only.
    assert fresh_process(MANY_SHAPES) == ""

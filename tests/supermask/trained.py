"""One short training for each method and network, which the tests of artifacts and plain networks share."""

import functools
from typing import Any

import torch

from supermask import data
from supermask.config import METHODS, TrainConfig
from supermask.pack import Pack

NETWORKS: dict[str, dict[str, Any]] = {
    "fcn": {"width": 0.2},
    "conv2": {"width": 0.1},
    "resnet20": {"width": 0.25, "stem_norm": "trained"},
}
CASES = [(method, network) for method in METHODS for network in NETWORKS]
METRICS = {"test_accuracy": 0.5, "remaining": 1 / 3}


@functools.cache
def digits() -> data.Dataset:
    return data.load("digits")


@functools.cache
def trained(method: str, network: str) -> Pack:
    """A pack of two lanes after one epoch, in float32."""
    common: dict[str, Any] = {
        "dataset": "digits",
        "method": method,
        "network": network,
        "batch_size": 256,
        "learning_rate": 0.1,
    }
    inits: list[dict[str, Any]] = [{"weight_init": "normal", "seed": 3}, {"seed": 2**63 - 1}]
    configs = [TrainConfig(**common, **NETWORKS[network], **init, epochs=1) for init in inits]
    pack = Pack(configs, digits(), dtype=torch.float32)
    pack.train_epoch()
    return pack

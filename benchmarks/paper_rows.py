"""The rows of the comparison with arXiv 2201.13361: what is trained, and what the papers report.

`config` of a row is its trial; where a search found it, `found` names the command. Of the others, which no search has
improved yet, `signed` and `dense` hold values that the paper's authors published, and the rest plausible ones to start
from.
"""

from dataclasses import dataclass, field
from typing import Any

from supermask.config import TrainConfig


@dataclass(frozen=True)
class PaperRow:
    """One network, trained by one method.

    Attributes:
        network: As in `TrainConfig.network`.
        method: As in `TrainConfig.method`.
        dataset: As in `TrainConfig.dataset`.
        config: The other fields that differ from their defaults.
        accuracy: Reported test accuracy, fraction; None where a paper gives none for this network.
        remaining: Reported fraction of remaining weights; None where a paper gives a range or none.
        width: As in `TrainConfig.width`.
        found: The command that found the configuration; empty for published values.
    """

    network: str
    method: str
    dataset: str
    config: dict[str, Any] = field(default_factory=dict)
    accuracy: float | None = None
    remaining: float | None = None
    width: float = 1.0
    found: str = ""

    @property
    def key(self) -> str:
        """Its name, e.g. `resnet20x2:signed`."""
        width = "" if self.width == 1 else f"x{self.width:g}"
        return f"{self.network}{width}:{self.method}"

    def trial(self, seed: int, **changes: Any) -> TrainConfig:
        """The configuration of one seed."""
        shared = {"network": self.network, "width": self.width, "dataset": self.dataset, "method": self.method}
        return TrainConfig(**(shared | self.config | changes), seed=seed)


_PUBLISHED = {"pruning_rate": 0.6, "learning_rate": 0.01, "weight_decay": 3e-4}
_DENSE_CONV = {
    "learning_rate": 0.008, "weight_decay": 7e-4, "decay_epochs": 5.0, "epochs": 50, "weight_gain": 0.75**0.5,
}  # fmt: skip
_RIVAL_CONV: dict[str, Any] = {"pruning_rate": 0.9, "learning_rate": 0.1, "weight_decay": 1e-4}
_ZHOU_CONV: dict[str, Any] = {"pruning_rate": 0.5, "learning_rate": 20.0, "weight_decay": 0.0}
_PLATEAU = {"schedule": "plateau", "augmentation": "crop_flip"}
_R20 = {**_PLATEAU, "learning_rate": 0.3, "weight_decay": 3e-4, "epochs": 110}
_R56 = {**_PLATEAU, "weight_decay": 1e-4, "plateau_factor": 0.1, "plateau_reductions": 7, "epochs": 120}


def _conv(network: str, reported: dict[str, tuple[float | None, float | None]]) -> list[PaperRow]:
    configs = {"signed": _PUBLISHED, "dense": _DENSE_CONV, "zhou": _ZHOU_CONV}
    return [
        PaperRow(network, method, "cifar10-jpeg", configs.get(method, _RIVAL_CONV), *pair)
        for method, pair in reported.items()
    ]


def _resnet(network: str, dataset: str, config: dict[str, Any], *reported: float, width: float = 1.0) -> list[PaperRow]:
    signed, remaining, dense = reported
    rows = {"signed": (config | {"pruning_rate": 0.75}, signed, remaining), "dense": (config, dense, 1.0)}
    return [PaperRow(network, method, dataset, *row, width=width) for method, row in rows.items()]


_FCN_SPARSE = {
    "pruning_rate": 0.8523145177578516, "learning_rate": 0.10439445562587116, "weight_decay": 0.000250317289371615,
    "weight_gain": 2.6134679897307733, "decay_epochs": 3.143048644161901, "epochs": 60,
}  # fmt: skip
_FOUND_SPARSE = (
    "sweeps run fcn_mnist --name fcn_sparse --trials 40 --lanes 10 --seed 1 --set fixed.epochs=60 "
    "--set 'search.pruning_rate={low: 0.72, high: 0.88}' "
    "--set 'search.learning_rate={low: 0.065, high: 0.15, log: true}' "
    "--set 'search.weight_decay={low: 1.6e-4, high: 3.2e-4, log: true}' "
    "--set 'search.weight_gain={low: 2.2, high: 3.4, log: true}' "
    "--set 'search.decay_epochs={low: 2.4, high: 3.6, log: true}' "
    '--set \'constraints=["remaining <= 0.021", "val_accuracy >= 0.965"]\'; ended after 20 trials; '
    "sweeps confirm fcn_sparse --select 'best:remaining<=0.02' chose trial 17"
)

_FCN_DENSE = {
    "learning_rate": 0.005857971315559963, "weight_decay": 1.0615832402661069e-05,
    "weight_gain": 0.8055274152432986, "epochs": 40,
}  # fmt: skip
_FCN_EDGE = {
    "pruning_rate": 0.9, "learning_rate": 0.08593510879494981, "weight_decay": 0.0006868310173889659,
    "weight_gain": 0.649873148087422, "epochs": 25, "decay_epochs": 6.5,
}  # fmt: skip
_FCN_MULTI = {
    "pruning_rate": 0.9, "learning_rate": 0.4333125084278694, "weight_decay": 1.2031282164012366e-06,
    "weight_gain": 1.9840941965309122, "epochs": 25, "decay_epochs": 6.5,
}  # fmt: skip


_FCN_ZHOU = {
    "pruning_rate": 0.5518681808122416, "learning_rate": 194.0248009170342, "weight_decay": 0.0005254194991635225,
    "weight_gain": 0.8685314246440516, "epochs": 25, "decay_epochs": 6.5,
}  # fmt: skip
_KEEP_A_TENTH = "--set fixed.pruning_rate=0.9 --set search.weight_decay.low=1.0e-7"


def _found(method: str, changes: str) -> str:
    """A search of 12 trials; its 15 epochs with decay_epochs 4 stand for 25 with 6.5 and 40 with 10."""
    return (
        f"sweeps run fcn_mnist --name {method} --trials 12 --lanes 6 --seed 1 --set fixed.method={method} "
        f"--set fixed.epochs=15 --set fixed.decay_epochs=4 --set constraints=[] {changes}; the best val_accuracy"
    )


FCN = [
    PaperRow("fcn", "signed", "mnist", _FCN_SPARSE, 0.9748, 0.0377, found=_FOUND_SPARSE),
    PaperRow("fcn", "dense", "mnist", _FCN_DENSE, 0.9742, 1.0, found=_found("dense", "--set fixed.pruning_rate=0.5")),
    PaperRow(
        "fcn", "zhou", "mnist", _FCN_ZHOU, 0.98, None,
        found=_found("zhou", "--set search.learning_rate.low=1 --set search.learning_rate.high=500 "
                     "--set search.weight_decay.low=1.0e-8") + " after 2 epochs, when it was broken off",
    ),
    PaperRow("fcn", "edge_popup", "mnist", _FCN_EDGE, found=_found("edge_popup", _KEEP_A_TENTH)),
    PaperRow("fcn", "multi_prize", "mnist", _FCN_MULTI, found=_found("multi_prize", _KEEP_A_TENTH)),
]  # fmt: skip

ROWS: tuple[PaperRow, ...] = (
    *FCN,
    *_conv("conv2", {"signed": (0.6837, 0.006), "dense": (0.6879, 1.0), "zhou": (0.66, None),
                     "edge_popup": (0.65, 0.1), "multi_prize": (0.70, 0.1)}),
    *_conv("conv4", {"signed": (0.7740, 0.0291), "dense": (0.7450, 1.0), "zhou": (0.725, None),
                     "edge_popup": (0.74, 0.1), "multi_prize": (0.79, 0.1)}),
    *_conv("conv6", {"signed": (0.7917, 0.0236), "dense": (0.7591, 1.0), "zhou": (0.765, None),
                     "edge_popup": (0.77, 0.1), "multi_prize": (0.82, 0.1)}),
    *_conv("conv8", {"signed": (0.8091, 0.0117), "dense": (0.7224, 1.0),
                     "edge_popup": (0.70, 0.1), "multi_prize": (0.85, 0.1)}),
    *_resnet("resnet20", "cifar10-jpeg", _R20, 0.8168, 0.2113, 0.8491),
    *_resnet("resnet20", "cifar10-jpeg", _R20, 0.8442, 0.0769, 0.8680, width=2.0),
    *_resnet("resnet20", "cifar10-jpeg", _R20, 0.8489, 0.0406, 0.8732, width=3.0),
    *_resnet("resnet56", "cifar100", {**_R56, "learning_rate": 0.15}, 0.6001, 0.2939, 0.6804),
    *_resnet("resnet110", "cifar100", {**_R56, "learning_rate": 0.1}, 0.4642, 0.2064, 0.6270),
)  # fmt: skip

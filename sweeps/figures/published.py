"""Published results that pictures show beside a sweep: mean test accuracies, and the weights that remained."""

from collections.abc import Iterable, Mapping
from typing import Any

from sweeps.figures.drawing import Reference
from sweeps.pareto import Table

_Kind = tuple[str, str, float]
_KIND = ("network", "dataset", "width")

_PAPER = "arXiv 2201.13361, test"
_EDGE_POPUP, _MULTI_PRIZE = "edge-popup, arXiv 1911.13299, test", "multi-prize, arXiv 2103.09377, test"

_SIGNED: dict[_Kind, tuple[float, float]] = {
    ("fcn", "mnist", 1.0): (0.9748, 0.0377),
    ("conv2", "cifar10", 1.0): (0.6837, 0.0060),
    ("conv4", "cifar10", 1.0): (0.7740, 0.0291),
    ("conv6", "cifar10", 1.0): (0.7917, 0.0236),
    ("conv8", "cifar10", 1.0): (0.8091, 0.0117),
    ("resnet20", "cifar10", 1.0): (0.8168, 0.2113),
    ("resnet20", "cifar10", 2.0): (0.8442, 0.0769),
    ("resnet20", "cifar10", 3.0): (0.8489, 0.0406),
    ("resnet56", "cifar100", 1.0): (0.6001, 0.2939),
    ("resnet110", "cifar100", 1.0): (0.4642, 0.2064),
}
"""Accuracy and remaining of the signed supermask of arXiv 2201.13361 (means over up to 50 runs)."""

_DENSE: dict[_Kind, float] = {
    ("fcn", "mnist", 1.0): 0.9742,
    ("conv2", "cifar10", 1.0): 0.6879,
    ("conv4", "cifar10", 1.0): 0.7450,
    ("conv6", "cifar10", 1.0): 0.7591,
    ("conv8", "cifar10", 1.0): 0.7224,
    ("resnet20", "cifar10", 1.0): 0.8491,
    ("resnet20", "cifar10", 2.0): 0.8680,
    ("resnet20", "cifar10", 3.0): 0.8732,
    ("resnet56", "cifar100", 1.0): 0.6804,
    ("resnet110", "cifar100", 1.0): 0.6270,
}
"""Accuracy of its dense network, in the same paper."""

_OTHERS: dict[_Kind, dict[str, tuple[float, float]]] = {
    ("conv2", "cifar10", 1.0): {_EDGE_POPUP: (0.65, 0.1), _MULTI_PRIZE: (0.70, 0.1)},
    ("conv4", "cifar10", 1.0): {_EDGE_POPUP: (0.74, 0.1), _MULTI_PRIZE: (0.79, 0.1)},
    ("conv6", "cifar10", 1.0): {_EDGE_POPUP: (0.77, 0.1), _MULTI_PRIZE: (0.82, 0.1)},
    ("conv8", "cifar10", 1.0): {_EDGE_POPUP: (0.70, 0.1), _MULTI_PRIZE: (0.85, 0.1)},
}
"""Accuracy and remaining of earlier methods."""


def kinds_of(trials: Table) -> list[dict[str, Any]]:
    """Each network, dataset and width of a table of trials, once."""
    return trials.group_by([*_KIND]).aggregate([]).to_pylist()


def signed_supermask(rows: Iterable[Mapping[str, Any]]) -> list[Reference]:
    """The signed supermask of arXiv 2201.13361, if all rows are of one network, dataset and width that it has.

    Args:
        rows: Configurations, or what `kinds_of` gives. What was published of one width says nothing of another.
    """
    kind = _only_kind(rows)
    return [Reference(_PAPER, *_SIGNED[kind])] if kind in _SIGNED else []


def references(rows: Iterable[Mapping[str, Any]]) -> list[Reference]:
    """The same, then its dense network and earlier methods; often none at all.

    Args:
        rows: As of `signed_supermask`.
    """
    kind = _only_kind(rows)
    if kind not in _SIGNED:
        return []
    return [
        Reference(f"signed supermask, {_PAPER}", *_SIGNED[kind]),
        Reference(f"dense, {_PAPER}", _DENSE[kind], 1.0),
        *(Reference(label, *point) for label, point in _OTHERS.get(kind, {}).items()),
    ]


def _only_kind(rows: Iterable[Mapping[str, Any]]) -> _Kind | None:
    kinds: set[_Kind] = {(row["network"], row["dataset"], row["width"]) for row in rows}
    return kinds.pop() if len(kinds) == 1 else None

"""What MLflow holds of the layers of a network: `layers/NAME/remaining` and `layers/NAME/inverted`."""

from collections.abc import Mapping
from typing import Any

MOST_LAYERS = 16
"""Masked layers up to which every epoch is mirrored: a ResNet110 has 112, 45 points an epoch for each other one. Of a
deeper network only the last epoch is; Parquet holds all of them."""

_PREFIX = "layers/"

Row = Mapping[str, Any]


def of_epoch(row: Row) -> dict[str, float]:
    """The layer metrics that a trial's run holds of an epoch; none of a deep network.

    Args:
        row: An epoch, with the columns of `sweeps.results`; one of an older version has no layers.
    """
    return {} if _is_deep(row) else of_end(row)


def of_end(row: Row) -> dict[str, float]:
    """The layer metrics that a trial's run holds of its last epoch.

    Args:
        row: The ended trial, with the columns of `sweeps.results`.
    """
    return {
        f"{_PREFIX}{layer['name']}/{part}": layer[part]
        for layer in row.get("layers") or ()
        for part in ("remaining", "inverted")
    }


def is_one(metric: str) -> bool:
    """Whether a metric of this name is about a layer."""
    return metric.startswith(_PREFIX)


def _is_deep(row: Row) -> bool:
    return len(row.get("layers") or ()) > MOST_LAYERS

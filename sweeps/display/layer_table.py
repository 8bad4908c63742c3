"""Mask statistics of one trained network by layer, as records and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from torch import Tensor

from supermask.masks import MaskCounts

COLUMNS = ("weights", "kept", "inverted", "hidden")


def records(masks: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """One record a layer: its name, numbers of weights, and the fraction that remains.

    Args:
        masks: By layer name, from input to output, entries -1, 0 and +1.
    """
    return [_record(name, MaskCounts.of(mask)) for name, mask in masks.items()]


def total(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of the whole network."""
    kept, inverted, hidden = (sum(layer[name] for layer in layers) for name in ("kept", "inverted", "hidden"))
    return _record("all", MaskCounts(kept, hidden, inverted))


def table(layers: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """The records for a terminal, with the whole network below."""
    shown = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_footer=True,
        footer_style="bold",
    )
    whole = total(layers)
    shown.add_column("layer", footer="all")
    for name in COLUMNS:
        shown.add_column(name, justify="right", footer=f"{whole[name]:,}")
    shown.add_column("remaining %", justify="right", footer=_percent(whole))
    for layer in layers:
        shown.add_row(layer["layer"], *(f"{layer[name]:,}" for name in COLUMNS), _percent(layer))
    return shown


def _record(name: str, counts: MaskCounts) -> dict[str, Any]:
    weights = counts.kept + counts.inverted + counts.hidden
    numbers = {"weights": weights, "kept": counts.kept, "inverted": counts.inverted, "hidden": counts.hidden}
    return {"layer": name, **numbers, "remaining": (counts.kept + counts.inverted) / weights}


def _percent(layer: Mapping[str, Any]) -> str:
    return f"{100 * layer['remaining']:.2f}"

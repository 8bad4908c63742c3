"""The confirmed networks of a sweep as a user meets them: records and a table."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sweeps.analysis.confirmed import INTERVAL_NAME, Confirmed
from sweeps.analysis.intervals import Interval
from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths


def records(found: Iterable[Confirmed]) -> list[dict[str, Any]]:
    """Plain records; with one seed a mean has no deviation and no interval."""
    return [
        {
            "trial": one.key[0],
            "epoch": one.key[1],
            "seeds": one.seeds,
            "test_accuracy": dict(vars(one.test_accuracy)),
            "val_accuracy": dict(vars(one.val_accuracy)),
            "remaining": dict(vars(one.remaining)),
        }
        for one in found
    ]


def table(found: Sequence[Confirmed], name: str) -> Table:
    """For a terminal, in percent."""
    title = f"{name}: mean ± std [{INTERVAL_NAME}], fresh seeds"
    shown = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("network", "seeds", "test accuracy %", "val accuracy %", "remaining %"):
        shown.add_column(heading, justify="right")
    for one in found:
        accuracies = _text(one.test_accuracy, 2), _text(one.val_accuracy, 2)
        shown.add_row(one.name, str(one.seeds), *accuracies, _text(one.remaining, 3))
    return shown


def conclude(found: Sequence[Confirmed], paths: SweepPaths, err: Console) -> None:
    """Says what the means leave out and where results lie.

    Raises:
        SweepError: If no training finished.
    """
    lines = [
        f"network {one.name}: {one.failed} of {one.seeds + one.failed} seeds failed ({', '.join(one.reasons)}); "
        "they count in no mean"
        for one in found
        if one.failed
    ]
    lines.append(f"results: {paths.confirm}")
    if not any(one.seeds for one in found):
        raise SweepError("\n".join([*lines, "no training finished: see the reasons above."]), exit_code=1)
    for line in [*lines, f"picture: {paths.confirmed_png}"]:
        err.print(line, markup=False, soft_wrap=True)


def _text(interval: Interval, digits: int) -> str:
    numbers = (interval.mean, interval.std, interval.low, interval.high)
    mean, std, low, high = ("-" if number is None else f"{100 * number:.{digits}f}" for number in numbers)
    return mean if interval.std is None else f"{mean} ± {std} [{low}, {high}]"

"""The confirmed trials of a sweep as a user meets them: records, a table, a picture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sweeps.analysis.intervals import LEVEL, Interval, student_t
from sweeps.errors import SweepError
from sweeps.paths import SweepPaths

Row = Mapping[str, Any]

SUMMARISED = ("trial", "dataset", "state", "reason", "test_accuracy", "remaining")
"""The columns of a confirmation that its summary is made of."""
INTERVAL_NAME = f"{100 * LEVEL:g} % Student t interval"


@dataclass(frozen=True)
class Confirmed:
    """What a trial reaches with fresh seeds.

    Attributes:
        trial: Its number.
        dataset: On what it was trained.
        seeds: How many finished: those that the intervals are of.
        failed: How many did not.
        reasons: Why these failed, each kind once.
        test_accuracy: Fraction of the test set classified correctly.
        remaining: Fraction of weights that are not hidden.
    """

    trial: int
    dataset: str
    seeds: int
    failed: int
    reasons: tuple[str, ...]
    test_accuracy: Interval
    remaining: Interval


def by_trial(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Rows of `sweeps.confirmations` by their trial."""
    trials: dict[int, list[Row]] = {}
    for row in rows:
        trials.setdefault(row["trial"], []).append(row)
    return trials


def summarise(rows: Iterable[Row]) -> list[Confirmed]:
    """One summary per trial, best mean test accuracy first, trials without any finished seed last."""
    found = [_summary(trial, own) for trial, own in by_trial(rows).items()]
    return sorted(found, key=lambda one: (-(one.test_accuracy.mean or -1.0), one.trial))


def _summary(trial: int, rows: Sequence[Row]) -> Confirmed:
    finished = [row for row in rows if row["state"] == "finished"]
    failed = [row for row in rows if row["state"] != "finished"]
    return Confirmed(
        trial=trial,
        dataset=rows[0]["dataset"],
        seeds=len(finished),
        failed=len(failed),
        reasons=tuple(dict.fromkeys(str(row["reason"]).split(":")[0] for row in failed)),
        test_accuracy=student_t([row["test_accuracy"] for row in finished]),
        remaining=student_t([row["remaining"] for row in finished]),
    )


def records(found: Iterable[Confirmed]) -> list[dict[str, Any]]:
    """Plain records; with one seed a mean has no deviation and no interval."""
    return [
        {
            "trial": one.trial,
            "seeds": one.seeds,
            "test_accuracy": dict(vars(one.test_accuracy)),
            "remaining": dict(vars(one.remaining)),
        }
        for one in found
    ]


def table(found: Sequence[Confirmed], name: str) -> Table:
    """For a terminal, in percent."""
    title = f"{name}: mean ± std [{INTERVAL_NAME}], fresh seeds, test set"
    shown = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("trial", "seeds", "test accuracy %", "remaining %"):
        shown.add_column(heading, justify="right")
    for one in found:
        shown.add_row(str(one.trial), str(one.seeds), _text(one.test_accuracy, 2), _text(one.remaining, 3))
    return shown


def conclude(found: Sequence[Confirmed], paths: SweepPaths, err: Console) -> None:
    """Says what the means leave out and where results lie.

    Raises:
        SweepError: If no training finished.
    """
    lines = [
        f"trial {one.trial}: {one.failed} of {one.seeds + one.failed} seeds failed ({', '.join(one.reasons)}); "
        "they count in no mean"
        for one in found
        if one.failed
    ]
    lines.append(f"results: {paths.confirm}")
    if not any(one.seeds for one in found):
        raise SweepError("\n".join([*lines, "no training finished: see the reasons above."]), exit_code=1)
    for line in [*lines, f"picture: {paths.confirmed_png}"]:
        err.print(line, markup=False, soft_wrap=True)


def draw(paths: SweepPaths, rows: Sequence[Row]) -> bool:
    """Writes `confirmed.png` of all confirmed trials of a sweep; returns whether there was anything to draw."""
    found = [one for one in summarise(rows) if one.seeds]
    if not found:
        return False
    from sweeps.analysis.attainment import surfaces
    from sweeps.figures import confirmed, drawing, published  # matplotlib takes most of a second to import

    references = published.signed_supermask(rows)
    figure = confirmed.confirmed_figure(found, surfaces(rows), name=paths.name, references=references)
    drawing.save(figure, paths.confirmed_png)
    return True


def _text(interval: Interval, digits: int) -> str:
    numbers = (interval.mean, interval.std, interval.low, interval.high)
    mean, std, low, high = ("-" if number is None else f"{100 * number:.{digits}f}" for number in numbers)
    return mean if interval.std is None else f"{mean} ± {std} [{low}, {high}]"

"""Selects trials by their validation metrics, never by the test set."""

import re
from dataclasses import dataclass
from typing import Any

from search_spaces.space import Constraint, SearchSpace
from sweeps import pareto
from sweeps.errors import SweepError
from sweeps.objectives import Objectives
from sweeps.pareto import Table
from sweeps.results import CONFIG_COLUMNS

Row = dict[str, Any]

_BEST = re.compile(r"(?:(?:val_)?(accuracy)\s*>=|(remaining)\s*<=)\s*([0-9.eE+-]+)")
_TRIALS = re.compile(r"\d{1,9}(,\d{1,9})*")
_SHOWN = 10


@dataclass(frozen=True)
class Selection:
    """A parsed selection.

    Attributes:
        text: As it was given.
        label: The argument and its value, for messages.
        bound: Of `best:`, else None.
        trials: Numbers that were named, without repetition; empty when the trials are found by their metrics.
    """

    text: str
    label: str
    bound: Constraint | None = None
    trials: tuple[int, ...] = ()


def parse(text: str) -> Selection:
    """Reads `front`, `knee`, `best:accuracy>=X`, `best:remaining<=X` or trial numbers like `3,17`.

    Raises:
        SweepError: If it is none of these.
    """
    text = text.strip()
    label = f"--select {text}"
    if text in ("front", "knee"):
        return Selection(text, label)
    numbers = re.sub(r"\s", "", text)
    if _TRIALS.fullmatch(numbers):
        return Selection(text, label, trials=tuple(dict.fromkeys(int(number) for number in numbers.split(","))))
    kind, _, asked = text.partition(":")
    bound = _bound(asked) if kind == "best" else None
    if bound is None:
        raise SweepError(
            "--select: must be front, knee, best:accuracy>=X, best:remaining<=X with X in [0, 1], or trial numbers, "
            f"but got {text!r}. Write for example --select 'best:accuracy>=0.975' or --select 3,17."
        )
    return Selection(text, label, bound)


def parse_best(text: str) -> Selection:
    """Reads `accuracy >= X` or `remaining <= X`.

    Raises:
        SweepError: If it is none of these.
    """
    bound = _bound(text.strip())
    if bound is None:
        raise SweepError(
            f"best: must be accuracy >= X or remaining <= X with X in [0, 1], but got {text!r}. "
            "Write for example best('accuracy >= 0.975')."
        )
    return Selection(text, f"best({text!r})", bound)


def _bound(text: str) -> Constraint | None:
    match = _BEST.fullmatch(text)
    number = _number(match[3]) if match else None
    if not match or number is None:
        return None
    metric, operator = ("val_accuracy", ">=") if match[1] else ("remaining", "<=")
    return Constraint(metric, operator, number)


def select(selection: Selection, trials: Table, space: SearchSpace) -> list[Row]:
    """Rows of the selected trials.

    * `front`: the front of the trials that keep to the space's constraints, as `sweeps pareto` prints it.
    * `knee`: the one of them that `pareto.knee` finds.
    * `best:accuracy>=X`: of the finished trials with at least this validation accuracy, the one with the fewest
      weights remaining; `best:remaining<=X`: of those with at most this fraction remaining, the one with the best
      validation accuracy. They keep to the space's constraints as well.
    * numbers: these trials, in this order.

    Args:
        selection: What is asked for.
        trials: The ended trials of the sweep, from `sweeps.results.load`.
        space: Gives objectives and constraints.

    Raises:
        SweepError: If there is no such trial.
    """
    if selection.trials:
        return _named(selection, trials)
    if selection.bound:
        within = pareto.feasible(pareto.finished(trials), [*space.constraints, selection.bound])
        rows = sorted(within.to_pylist(), key=_SOUGHT[selection.bound.metric].claim)[:1]
    else:
        members = pareto.front_of(trials, space)
        rows = (pareto.knee(members, space.objectives) if selection.text == "knee" else members).to_pylist()
    if not rows:
        bounds = [*space.constraints, *([selection.bound] if selection.bound else [])]
        wanted = ", ".join(map(str, bounds))
        keeping = f" that keeps to {wanted}" if wanted else ""
        raise SweepError(
            f"{selection.label}: there must be a finished trial{keeping}, but there is none. "
            f"See what there is: sweeps pareto {space.name}."
        )
    return _configured(rows)


_SOUGHT = {
    "val_accuracy": Objectives({"remaining": "minimize", "val_accuracy": "maximize"}),
    "remaining": Objectives({"val_accuracy": "maximize", "remaining": "minimize"}),
}
"""Lexicographic order within the bound on a metric."""


def _named(selection: Selection, trials: Table) -> list[Row]:
    rows = {row["trial"]: row for row in pareto.finished(trials).to_pylist()}
    missing = [trial for trial in selection.trials if trial not in rows]
    if missing:
        there = ", ".join(map(str, sorted(rows)[:_SHOWN])) + (", ..." if len(rows) > _SHOWN else "")
        raise SweepError(
            f"{selection.label}: every trial must be a finished trial of the sweep, but "
            f"{', '.join(map(str, missing))} {'is' if len(missing) == 1 else 'are'} not. "
            f"Finished are: {there or 'none'}."
        )
    return _configured([rows[trial] for trial in selection.trials])


def _configured(rows: list[Row]) -> list[Row]:
    """Checks that the trials can be retrained: a damaged or foreign file may hold results only."""
    without = [row["trial"] for row in rows if all(row[name] is None for name in CONFIG_COLUMNS)]
    if without:
        raise SweepError(
            f"trial {without[0]}: its row must hold its configuration, but every field is null. Choose other trials."
        )
    return rows


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None

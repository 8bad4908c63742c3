"""Selects networks by their estimates, never by the test set."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.space import Constraint, SearchSpace
from sweeps import pareto
from sweeps.errors import SweepError
from sweeps.networks import with_trials
from sweeps.objectives import Key, Objectives, network_name
from sweeps.pareto import Table
from sweeps.results import CONFIG_COLUMNS
from sweeps.store.columns import integers
from sweeps.store.columns import rows as store_rows

Row = dict[str, Any]

_BEST = re.compile(r"(?:(?:val_)?(accuracy)\s*>=|(remaining)\s*<=)\s*([0-9.eE+-]+)")
_NETWORK = r"\d{1,9}(?:@\d{1,9})?"
_NETWORKS = re.compile(rf"{_NETWORK}(?:,{_NETWORK})*")
_SHOWN = 10


@dataclass(frozen=True)
class Selection:
    """A parsed selection.

    Attributes:
        text: As it was given.
        label: The argument and its value, for messages.
        bound: Of `best:`, else None.
        named: Trials that were named, each with its epoch or None, without repetition; empty when networks are found by
            their metrics.
    """

    text: str
    label: str
    bound: Constraint | None = None
    named: tuple[tuple[int, int | None], ...] = ()


def parse(text: str) -> Selection:
    """Reads `front`, `knee`, `best:accuracy>=X`, `best:remaining<=X` or networks like `3@20,17`.

    Raises:
        SweepError: If it is none of these.
    """
    text = text.strip()
    label = f"--select {text}"
    if text in ("front", "knee"):
        return Selection(text, label)
    numbers = re.sub(r"\s", "", text)
    if _NETWORKS.fullmatch(numbers):
        return Selection(text, label, named=tuple(dict.fromkeys(map(_key, numbers.split(",")))))
    kind, _, asked = text.partition(":")
    bound = _bound(asked) if kind == "best" else None
    if bound is None:
        raise SweepError(
            "--select: must be front, knee, best:accuracy>=X, best:remaining<=X with X in [0, 1], or networks, but "
            f"got {text!r}. Write for example --select 'best:accuracy>=0.975' or --select 3@20,17."
        )
    return Selection(text, label, bound)


def _key(text: str) -> tuple[int, int | None]:
    trial, _, epoch = text.partition("@")
    return int(trial), int(epoch) if epoch else None


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


def select(selection: Selection, networks: Table, trials: Table, space: SearchSpace) -> list[Row]:
    """Rows of the selected networks, see `sweeps.networks.with_trials`.

    * `front`: the front of the networks that keep to the space's constraints, as `sweeps pareto` prints it.
    * `knee`: the one of them that `pareto.knee` finds.
    * `best:accuracy>=X`: of the networks whose estimate is at least this, the one with the fewest weights remaining;
      `best:remaining<=X`: of those with at most this fraction remaining, the one with the best estimate. They keep to
      the space's constraints as well.
    * `TRIAL@EPOCH`: these networks, in this order; `TRIAL` is its network on the front with the best estimate, else its
      last one.

    Args:
        selection: What is asked for.
        networks: Of the sweep, from `sweeps.networks.load`.
        trials: Of the sweep, from `sweeps.results.load`, running ones included.
        space: Gives objectives and constraints.

    Raises:
        SweepError: If there is no such network.
    """
    if selection.named:
        return _named(selection, networks, trials, space)
    if selection.bound:
        within = pareto.feasible(networks, [*space.constraints, selection.bound])
        found = pareto.front(within, _BOTH)
        last = selection.bound.metric == "val_accuracy"
        found = found.slice(max(found.num_rows - 1, 0) if last else 0, 1)
    else:
        found = pareto.front_of(networks, space)
        found = pareto.knee(found, Objectives.of(space)) if selection.text == "knee" else found
    rows = with_trials(found, trials).to_pylist()
    if not rows:
        bounds = [*space.constraints, *([selection.bound] if selection.bound else [])]
        wanted = ", ".join(map(str, bounds))
        keeping = f" that keeps to {wanted}" if wanted else ""
        raise SweepError(
            f"{selection.label}: there must be a network{keeping}, but there is none. "
            f"See what there is: sweeps pareto {space.name}."
        )
    return _configured(rows)


_BOTH = {"val_accuracy": "maximize", "remaining": "minimize"}
"""Of the front of these two, the best in one is the last in the other: what a bound asks for."""


def network_of(networks: Table, space: SearchSpace, trial: int) -> int | None:
    """Epoch of the network that a trial stands for: the best of it on the front, else its last; None if it has none."""
    own = store_rows(networks, integers(networks, "trial") == trial)
    if not own.num_rows:
        return None
    front = pareto.front_of(networks, space)
    on_front = store_rows(front, integers(front, "trial") == trial)
    return int(integers(on_front, "epoch")[0] if on_front.num_rows else integers(own, "epoch").max())


def _named(selection: Selection, networks: Table, trials: Table, space: SearchSpace) -> list[Row]:
    there = set(zip(integers(networks, "trial").tolist(), integers(networks, "epoch").tolist(), strict=True))
    known = {trial for trial, _ in there}
    keys = list[Key]()
    for trial, epoch in selection.named:
        if trial not in known:
            shown = ", ".join(map(str, sorted(known)[:_SHOWN])) or "none"
            end = ", ..." if len(known) > _SHOWN else "."
            raise SweepError(
                f"{selection.label}: every trial must be one of the sweep with a trained epoch, but {trial} is not. "
                f"There are: {shown}{end}"
            )
        found = network_of(networks, space, trial) if epoch is None else epoch
        if found is None or (trial, found) not in there:
            last = max(at for of, at in there if of == trial)
            raise SweepError(
                f"{selection.label}: the epoch must be one that the trial was trained for, but {trial} has no epoch "
                f"{epoch}: its last one is {last}. Write {network_name((trial, last))}."
            )
        keys.append((trial, found))
    wanted = np.isin(integers(networks, "trial"), [trial for trial, _ in keys])
    rows = {(row["trial"], row["epoch"]): row for row in with_trials(store_rows(networks, wanted), trials).to_pylist()}
    return _configured([rows[key] for key in dict.fromkeys(keys)])


def _configured(rows: list[Row]) -> list[Row]:
    """Checks that the trials can be retrained: a damaged or foreign file may hold results only."""
    without = [row["trial"] for row in rows if all(row[name] is None for name in CONFIG_COLUMNS if name != "epochs")]
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

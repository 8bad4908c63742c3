"""Opening section of a report: the recommended network, its uncertainty, and the next commands."""

from typing import Any

from search_spaces.space import SearchSpace
from sweeps import pareto
from sweeps.analysis.intervals import Interval
from sweeps.analysis.recommendation import Recommendation
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep

Record = dict[str, Any]


def answer(sweep: StoredSweep, found: Recommendation | None) -> Record:
    """Headline, figures, reasons and commands of the opening section."""
    paths = sweep.paths
    if found is None:
        return {
            "name": None,
            "headline": "No network can be recommended yet",
            "figures": [],
            "reasons": [why_empty(sweep.space)],
            "commands": [("run more trials", f"sweeps resume {paths.name} --trials +20{paths.root_option}")],
        }
    rate = "" if found.pruning_rate is None else f", initial pruning rate {found.pruning_rate:.2f}"
    purposes = {"confirm": "confirm it", "train": "train it again", "export": "export it"}
    purposes |= {"ask": "ask for more accuracy"} if "ask" in found.commands else {}
    if found.confirmed_by_several:
        del purposes["confirm"]
    return {
        "name": found.name,
        "headline": f"Take network {found.name}{rate}",
        "figures": _figures(found),
        "reasons": _reasons(found),
        "commands": [(text, found.commands[key] + paths.root_option) for key, text in purposes.items()],
    }


def why_empty(space: SearchSpace) -> str:
    """Why the front has no network, a sentence."""
    text = pareto.why_empty(space.constraints)
    return f"{text[0].upper()}{text[1:]}."


def _figures(found: Recommendation) -> list[tuple[str, str, str]]:
    """Label, value and what is small below it."""
    shown = list[tuple[str, str, str]]()
    if found.pruning_rate is not None:
        spread = found.spread or "no near-equal trial to compare it with"
        shown.append(("initial pruning rate", f"{found.pruning_rate:.2f}", spread))
    single = "one run, one seed: no interval"
    if found.confirmed:
        shown += [
            ("test accuracy", *_mean(found.confirmed.test_accuracy, found.confirmed.seeds)),
            ("remaining weights", *_mean(found.confirmed.remaining, found.confirmed.seeds, digits=3)),
        ]
    else:
        shown.append(("remaining weights", percent(found.metrics["remaining"]), single))
    expected, error = found.metrics["estimate"], found.metrics["standard_error"]
    how = f"± {percent(error)}, an estimate; that epoch's own is {percent(found.metrics['val_accuracy'])}"
    return [*shown, ("validation accuracy", percent(expected), how)]


def _mean(measured: Interval, seeds: int, digits: int = 2) -> tuple[str, str]:
    """A mean over fresh seeds, and how sure it is."""
    over = f"mean of {seeds} fresh seed{'' if seeds == 1 else 's'}"
    span = bracket(measured, digits)
    return percent(measured.mean), f"95 % interval {span}, {over}" if span else over


def _reasons(found: Recommendation) -> list[str]:
    trial, epoch = found.key
    why = f"Chosen as the {found.rule}. It is trial {trial} after epoch {epoch}: training it ends there."
    if found.confirmed_by_several:
        return [why]
    luck = "It was trained with one seed, so part of its numbers may be luck: confirm it before you believe it."
    return [why, luck]


def train_command(paths: SweepPaths) -> list[str]:
    """What stands before and after a network's name in the command that trains it again."""
    return [f"sweeps train {paths.name}:", paths.root_option]


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def bracket(found: Interval, digits: int = 2) -> str:
    """An interval in percent; empty where there is none."""
    if found.low is None or found.high is None:
        return ""
    return f"[{100 * found.low:.{digits}f}, {100 * found.high:.{digits}f}] %"

"""The report of a sweep: one HTML file that says which trial to take, how sure that is, and what it rests on."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search_spaces.load import load as load_space
from search_spaces.space import SearchSpace
from supermask.config import ConfigError
from sweeps import confirmations, pareto, results
from sweeps.analysis.comparison import check_objectives
from sweeps.analysis.confirmed import INTERVAL_NAME, Confirmed, summarise
from sweeps.analysis.importance import FEWEST_TRIALS
from sweeps.analysis.recommendation import Recommendation, recommend
from sweeps.display.panel import duration
from sweeps.errors import SweepError
from sweeps.figures import drawing, published
from sweeps.pareto import Table
from sweeps.report import answer, charts, parameters, tables
from sweeps.report.page import embed_png, render
from sweeps.report.sample import draw
from sweeps.store.lease import read_session
from sweeps.store.paths import SweepPaths, replacing

_LOG = logging.getLogger(__name__)

MOST_BESIDE = 3
"""Other sweeps for which there are colours, dashes and shapes."""
DrawMask = Callable[[SweepPaths, int], Path]
"""Draws the first layer's mask of a trial; see `sweeps.figures.kept_mask`."""


def write(
    paths: SweepPaths,
    space: SearchSpace,
    *,
    beside: Sequence[str] = (),
    draw_mask: DrawMask | None = None,
    state: str | None = None,
) -> Path:
    """Writes `ROOT/NAME/report.html`; readers see the old file or the new one, whole.

    Args:
        paths: Of the sweep.
        space: Of the sweep.
        beside: Names of other sweeps of the root; their fronts are drawn as well.
        draw_mask: Draws the recommended trial's mask if it was not drawn before. Needs PyTorch, this module does not.
        state: Of the sweep, from its driver, whose session file says that last of all.

    Returns:
        The file.

    Raises:
        SweepError: If one of the sweeps does not exist or has other objectives, or there are too many beside this one.
    """
    page = _page(paths, space, beside, draw_mask, state)
    with replacing(paths.report) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return paths.report


def renew(
    paths: SweepPaths, space: SearchSpace, *, draw_mask: DrawMask | None = None, state: str | None = None
) -> None:
    """Writes the report of a sweep whose results have changed; see `write`.

    Results without a report are as good: a fault is logged, and no report of an earlier state stays.
    """
    try:
        write(paths, space, draw_mask=draw_mask, state=state)
    except Exception:
        _LOG.exception("the report could not be written; try again: sweeps report %s%s", paths.name, paths.root_option)
        paths.report.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Sweep:
    """What a page is made from."""

    paths: SweepPaths
    space: SearchSpace
    trials: Table
    front: Table
    confirmed: list[Confirmed]
    session: dict[str, Any]
    recommended: Recommendation | None


def _page(
    paths: SweepPaths, space: SearchSpace, beside: Sequence[str], draw_mask: DrawMask | None, state: str | None
) -> str:
    if len(set(beside)) > MOST_BESIDE:
        raise SweepError(
            f"--beside: at most {MOST_BESIDE} sweeps can be told apart, but got {len(set(beside))}. Leave some out."
        )
    others = {name: results.load(paths.root, name) for name in beside}
    spaces = {name: load_space(SweepPaths(paths.root, name).space) for name in beside}
    for name, other in spaces.items():
        check_objectives((paths.name, name), (space.objectives, other.objectives))
    trials = results.load(paths.root, paths.name)
    repeated = confirmations.load(paths.confirm)
    sweep = _Sweep(
        paths,
        space,
        trials,
        front=_front(trials, space),
        confirmed=summarise(repeated.to_pylist()),
        session=read_session(paths) | ({"state": state} if state else {}),
        recommended=recommend(trials, space, repeated),
    )
    mask, no_mask = _mask(sweep, draw_mask)
    drawn = draw(trials, sweep.front, space.objectives)
    words = _words(sweep) | {
        "mask": mask,
        "no_mask": no_mask,
        "drawn": drawn.text,
        "comparisons": tables.comparisons(trials, others, name=paths.name, objectives=space.objectives),
    }
    fronts = {name: _front(table, spaces[name]) for name, table in others.items()}
    return render(words, _charts(sweep, trials.take(drawn.rows), fronts) | {"isSample": bool(drawn.text)})


def _front(trials: Table, space: SearchSpace) -> Table:
    return pareto.front(pareto.feasible(trials, space.constraints), space.objectives)


def _words(sweep: _Sweep) -> dict[str, Any]:
    recommended = sweep.recommended.trial if sweep.recommended else None
    return {
        "name": sweep.paths.name,
        "summary": _summary(sweep),
        "answer": answer.answer(sweep.paths, sweep.space, sweep.recommended),
        "front": tables.front_table(sweep.front, sweep.space, recommended),
        "searched": list(sweep.space.parameters) if sweep.front.num_rows else [],
        "importance": parameters.importances(sweep.trials, sweep.space),
        "fewest": FEWEST_TRIALS,
        "confirmed": tables.confirmed_table(sweep.confirmed),
        "interval_name": INTERVAL_NAME,
        "hypervolume_text": tables.hypervolume_text(sweep.space.objectives),
        "endings": tables.endings(sweep.trials),
        "provenance": tables.provenance(sweep.trials, sweep.space, sweep.session, datetime.now(UTC)),
        "space_text": sweep.space.to_yaml(),
    }


def _summary(sweep: _Sweep) -> str:
    """One line: what was swept, how far it is."""
    counts = Counter(sweep.trials.column("state").to_pylist())
    kinds = [
        ", ".join(sorted({str(value) for value in sweep.trials.column(name).unique().to_pylist() if value is not None}))
        for name in ("method", "network", "dataset")
    ]
    what = "{} {} on {}: ".format(*kinds) if all(kinds) else ""
    ended = ", ".join(f"{counts[state]:,} {state}" for state in ("finished", "stopped", "failed") if counts[state])
    state = {"running": " The sweep is still running.", "died": " Its last session broke off."}
    return (
        f"{what}{ended or 'no trial has ended'}, of {sweep.space.trials:,} asked for; "
        f"{duration(sweep.session['seconds'])}.{state.get(sweep.session['state'], '')}"
    )


def _charts(sweep: _Sweep, drawn: Table, others: dict[str, Table]) -> dict[str, Any]:
    across, up = drawing.axes_of(sweep.space.objectives)
    numbers = drawn.column("trial").to_pylist()
    on_front = set(sweep.front.column("trial").to_pylist())
    recommended = sweep.recommended.trial if sweep.recommended else None
    order = sorted(numbers, key=lambda trial: (trial != recommended, trial not in on_front, trial))
    return {
        "trials": charts.trial_columns(drawn, across, up),
        "parameters": parameters.parameters(sweep.space, drawn),
        "charts": charts.front_chart(
            sweep.space,
            sweep.trials,
            sweep.front,
            drawn,
            references=published.references(published.kinds_of(sweep.trials)),
            beside=others,
            confirmed=sweep.confirmed,
        ),
        "recommended": numbers.index(recommended) if recommended in numbers else None,
        "hypervolume": charts.hypervolume(sweep.trials, sweep.space),
        "curves": charts.curves(results.load_epochs(sweep.paths.root, sweep.paths.name, trials=numbers), order),
        "curveMetrics": charts.curve_metrics(),
        "layers": charts.layers(drawn, order),
        "effects": parameters.effects(sweep.trials, sweep.space),
        "train": answer.train_command(sweep.paths),
    }


def _mask(sweep: _Sweep, draw_mask: DrawMask | None) -> tuple[str, str]:
    """The picture of the recommended trial's mask, or why there is none."""
    if sweep.recommended is None:
        return "", "No trial is recommended."
    trial = sweep.recommended.trial
    picture = sweep.paths.masks / f"{trial}.png"
    if not picture.with_suffix(".safetensors").exists():
        return "", f"The mask of trial {trial} was not kept."
    if not picture.exists():
        if draw_mask is None:
            which = f"{sweep.paths.name}:{trial}{sweep.paths.root_option}"
            return "", f"Draw it, then write this page again: sweeps layers {which}"
        try:
            draw_mask(sweep.paths, trial)
        except ConfigError as error:
            return "", str(error)
    return embed_png(picture.read_bytes()), ""

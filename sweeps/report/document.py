"""Writes the report of a sweep: one HTML file with the recommended trial, its uncertainty and the evidence."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from supermask.config import ConfigError
from sweeps import pareto
from sweeps.analysis.comparison import check_objectives
from sweeps.analysis.confirmed import INTERVAL_NAME, Confirmed, summarise
from sweeps.analysis.importance import FEWEST_TRIALS
from sweeps.analysis.recommendation import Recommendation, recommend
from sweeps.display.panel import duration
from sweeps.errors import SweepError
from sweeps.figures import drawing, published
from sweeps.objectives import Key
from sweeps.pareto import Table
from sweeps.report import answer, charts, parameters, tables
from sweeps.report.page import embed_png, render
from sweeps.report.sample import draw
from sweeps.store.lease import read_session
from sweeps.store.paths import SweepPaths, replacing
from sweeps.stored import StoredSweep

_LOG = logging.getLogger(__name__)

MOST_BESIDE = 3
"""Maximum number of other sweeps: each needs a colour, dash and marker of its own."""
DrawMask = Callable[[SweepPaths, Key], Path]
"""Draws the first layer's mask of a trial; see `sweeps.figures.kept_mask`."""


def write(
    sweep: StoredSweep,
    *,
    beside: Sequence[StoredSweep] = (),
    draw_mask: DrawMask | None = None,
    state: str | None = None,
) -> Path:
    """Writes `ROOT/NAME/report.html`; readers see the old file or the new one, whole.

    Args:
        sweep: The sweep.
        beside: Other sweeps, whose fronts are drawn as well.
        draw_mask: Draws the recommended trial's mask if it was not drawn before. Needs PyTorch, this module does not.
        state: Of the sweep, from its driver, whose session file says that last of all.

    Returns:
        The file.

    Raises:
        SweepError: If one of the others has other objectives, or there are too many.
    """
    page = _page(sweep, beside, draw_mask, state)
    with replacing(sweep.paths.report) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return sweep.paths.report


def renew(sweep: StoredSweep, *, draw_mask: DrawMask | None = None, state: str | None = None) -> None:
    """Writes the report of a sweep whose results have changed; see `write`.

    Results without a report are as good: a fault is logged, and no report of an earlier state stays.
    """
    try:
        write(sweep, draw_mask=draw_mask, state=state)
    except Exception:
        again = f"sweeps report {sweep.name}{sweep.paths.root_option}"
        _LOG.exception("the report could not be written; try again: %s", again)
        sweep.paths.report.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Content:
    """Data of a page."""

    sweep: StoredSweep
    trials: Table
    front: Table
    confirmed: list[Confirmed]
    session: dict[str, Any]
    recommended: Recommendation | None


def _page(sweep: StoredSweep, beside: Sequence[StoredSweep], draw_mask: DrawMask | None, state: str | None) -> str:
    others = {other.name: other for other in beside}
    if len(others) > MOST_BESIDE:
        raise SweepError(
            f"--beside: at most {MOST_BESIDE} sweeps can be told apart, but got {len(others)}. Leave some out."
        )
    objectives = sweep.space.objectives
    for name, other in others.items():
        check_objectives((sweep.name, name), (objectives, other.space.objectives))
    trials, repeated = sweep.trials(), sweep.confirmations()
    content = _Content(
        sweep,
        trials,
        front=pareto.front_of(trials, sweep.space),
        confirmed=summarise(repeated.to_pylist()),
        session=read_session(sweep.paths) | ({"state": state} if state else {}),
        recommended=recommend(trials, sweep.space, repeated),
    )
    mask, no_mask = _mask(content, draw_mask)
    drawn = draw(trials, content.front, objectives)
    rivals = {name: other.trials() for name, other in others.items()}
    words = _words(content) | {
        "mask": mask,
        "no_mask": no_mask,
        "drawn": drawn.text,
        "comparisons": tables.comparisons(trials, rivals, name=sweep.name, objectives=objectives),
    }
    fronts = {name: pareto.front_of(table, others[name].space) for name, table in rivals.items()}
    return render(words, _charts(content, trials.take(drawn.rows), fronts) | {"isSample": bool(drawn.text)})


def _words(content: _Content) -> dict[str, Any]:
    space, recommended = content.sweep.space, content.recommended
    return {
        "name": content.sweep.name,
        "summary": _summary(content),
        "answer": answer.answer(content.sweep, recommended),
        "front": tables.front_record(content.front, space, recommended.trial if recommended else None),
        "searched": list(space.parameters) if content.front.num_rows else [],
        "importance": parameters.importances(content.trials, space),
        "fewest": FEWEST_TRIALS,
        "confirmed": tables.confirmed_table(content.confirmed),
        "interval_name": INTERVAL_NAME,
        "hypervolume_text": tables.hypervolume_text(space.objectives),
        "endings": tables.endings(content.trials),
        "provenance": tables.provenance(content.trials, space, content.session, datetime.now(UTC)),
        "space_text": space.to_yaml(),
    }


def _summary(content: _Content) -> str:
    """One line: what was searched, and the state of the sweep."""
    counts = Counter(content.trials.column("state").to_pylist())
    columns = [content.trials.column(name).unique().to_pylist() for name in ("method", "network", "dataset")]
    kinds = [", ".join(sorted({str(value) for value in column if value is not None})) for column in columns]
    what = "{} {} on {}: ".format(*kinds) if all(kinds) else ""
    ended = ", ".join(f"{counts[state]:,} {state}" for state in ("finished", "stopped", "failed") if counts[state])
    state = {"running": " The sweep is still running.", "died": " Its last session broke off."}
    return (
        f"{what}{ended or 'no trial has ended'}, of {content.sweep.space.trials:,} asked for; "
        f"{duration(content.session['seconds'])}.{state.get(content.session['state'], '')}"
    )


def _charts(content: _Content, drawn: Table, others: dict[str, Table]) -> dict[str, Any]:
    across, up = drawing.axes_of(content.sweep.space.objectives)
    numbers = drawn.column("trial").to_pylist()
    on_front = set(content.front.column("trial").to_pylist())
    recommended = content.recommended.trial if content.recommended else None
    order = sorted(numbers, key=lambda trial: (trial != recommended, trial not in on_front, trial))
    return {
        "trials": charts.trial_columns(drawn, across, up),
        "parameters": parameters.parameters(content.sweep.space, drawn),
        "charts": charts.front_chart(
            content.sweep.space,
            content.trials,
            content.front,
            drawn,
            references=published.references(published.kinds_of(content.trials)),
            beside=others,
            confirmed=content.confirmed,
        ),
        "recommended": numbers.index(recommended) if recommended in numbers else None,
        "hypervolume": charts.hypervolume(content.trials, content.sweep.space),
        "curves": charts.curves(content.sweep.epochs(numbers), order),
        "curveMetrics": charts.curve_metrics(),
        "layers": charts.layers(drawn, order),
        "effects": parameters.effects(content.trials, content.sweep.space),
        "train": answer.train_command(content.sweep.paths),
    }


def _mask(content: _Content, draw_mask: DrawMask | None) -> tuple[str, str]:
    """Embedded figure of the recommended trial's mask, or the reason why there is none."""
    if content.recommended is None:
        return "", "No trial is recommended."
    trial = content.recommended.trial
    picture = content.sweep.paths.masks / f"{trial}.png"
    if not picture.with_suffix(".safetensors").exists():
        return "", f"The mask of trial {trial} was not kept."
    if not picture.exists():
        if draw_mask is None:
            which = f"{content.sweep.paths.name}:{trial}{content.sweep.paths.root_option}"
            return "", f"Draw it, then write this page again: sweeps layers {which}"
        try:
            draw_mask(content.sweep.paths, trial)
        except ConfigError as error:
            return "", str(error)
    return embed_png(picture.read_bytes()), ""

"""Writes the report of a sweep: one HTML file with the recommended trial, its uncertainty and the evidence."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from supermask.config import ConfigError
from sweeps import pareto
from sweeps.analysis.comparison import check_objectives
from sweeps.analysis.confirmed import INTERVAL_NAME, Confirmed, summarise
from sweeps.analysis.importance import FEWEST_TRIALS
from sweeps.analysis.recommendation import Recommendation, recommend
from sweeps.display.panel import duration
from sweeps.errors import SweepError
from sweeps.figures import drawing, published
from sweeps.networks import numbers_of, with_trials
from sweeps.objectives import Key, Objectives
from sweeps.pareto import Table
from sweeps.report import answer, charts, parameters, tables
from sweeps.report.page import embed_png, render
from sweeps.report.sample import draw
from sweeps.results import ended_only
from sweeps.store.columns import concat, rows
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
        draw_mask: Draws the recommended network's mask if it was not drawn before. Needs PyTorch, this module does not.
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
    """Data of a page.

    Attributes:
        sweep: The sweep.
        objectives: Its objectives.
        trials: Its trials, running ones included.
        networks: All of its networks.
        front: Those on the front, with their trials' columns.
        best: The best one of each trial, likewise.
        confirmed: What was trained again.
        session: Its last session.
        recommended: The network to take.
    """

    sweep: StoredSweep
    objectives: Objectives
    trials: Table
    networks: Table
    front: Table
    best: Table
    confirmed: list[Confirmed]
    session: dict[str, Any]
    recommended: Recommendation | None

    @property
    def ended(self) -> Table:
        """The trials that have ended."""
        return ended_only(self.trials)

    @property
    def marks(self) -> Table:
        """The front and the best network of every trial, each once, sorted by trial and epoch."""
        both = concat([self.front, self.best])
        return rows(both, np.unique(numbers_of(both), return_index=True)[1])


def _page(sweep: StoredSweep, beside: Sequence[StoredSweep], draw_mask: DrawMask | None, state: str | None) -> str:
    others = {other.name: other for other in beside}
    if len(others) > MOST_BESIDE:
        raise SweepError(
            f"--beside: at most {MOST_BESIDE} sweeps can be told apart, but got {len(others)}. Leave some out."
        )
    for name, other in others.items():
        check_objectives((sweep.name, name), (sweep.space, other.space))
    content, objectives = _content(sweep, state), sweep.objectives
    mask, no_mask = _mask(content, draw_mask)
    marks = content.marks
    drawn = draw(marks, content.front, objectives)
    rivals = {name: (other.candidates(), other.trials(running=True)) for name, other in others.items()}
    words = _words(content) | {
        "mask": mask,
        "no_mask": no_mask,
        "drawn": drawn.text,
        "comparisons": tables.comparisons(
            content.front if not rivals else sweep.candidates(),
            rivals,
            name=sweep.name,
            trials=content.trials,
            objectives=objectives,
        ),
    }
    fronts = {name: pareto.front_of(table, others[name].space) for name, (table, _) in rivals.items()}
    return render(words, _charts(content, marks, rows(marks, drawn.rows), fronts) | {"isSample": bool(drawn.text)})


def _content(sweep: StoredSweep, state: str | None) -> _Content:
    networks, trials, repeated = sweep.networks(), sweep.trials(running=True), sweep.confirmations()
    objectives = sweep.objectives
    candidates = sweep.candidates(every=networks)
    return _Content(
        sweep,
        objectives,
        trials,
        networks,
        front=with_trials(pareto.front_of(candidates, sweep.space), trials),
        best=with_trials(pareto.best_of_trials(networks, objectives), trials),
        confirmed=summarise(repeated.to_pylist()),
        session=read_session(sweep.paths) | ({"state": state} if state else {}),
        recommended=recommend(candidates, trials, sweep.space, repeated),
    )


def _words(content: _Content) -> dict[str, Any]:
    space, recommended = content.sweep.space, content.recommended
    return {
        "name": content.sweep.name,
        "summary": _summary(content),
        "answer": answer.answer(content.sweep, recommended),
        "front": tables.front_record(content.front, space, recommended.key if recommended else None),
        "searched": list(space.parameters) if content.front.num_rows else [],
        "importance": parameters.importances(content.best, space),
        "fewest": FEWEST_TRIALS,
        "confirmed": tables.confirmed_table(content.confirmed),
        "interval_name": INTERVAL_NAME,
        "hypervolume_text": tables.hypervolume_text(content.objectives),
        "endings": tables.endings(content.ended),
        "provenance": tables.provenance(content.ended, space, content.session, datetime.now(UTC)),
        "space_text": space.to_yaml(),
    }


def _summary(content: _Content) -> str:
    """One line: what was searched, and the state of the sweep."""
    counts = Counter(content.ended.column("state").to_pylist())
    columns = [content.trials.column(name).unique().to_pylist() for name in ("method", "network", "dataset")]
    kinds = [", ".join(sorted({str(value) for value in column if value is not None})) for column in columns]
    what = "{} {} on {}: ".format(*kinds) if all(kinds) else ""
    ended = ", ".join(f"{counts[state]:,} {state}" for state in ("finished", "stopped", "failed") if counts[state])
    state = {"running": " The sweep is still running.", "died": " Its last session broke off."}
    networks = content.networks.num_rows
    return (
        f"{what}{ended or 'no trial has ended'}, of {content.sweep.space.trials:,} asked for; "
        f"{networks:,} network{'' if networks == 1 else 's'}; {duration(content.session['seconds'])}."
        f"{state.get(content.session['state'], '')}"
    )


def _charts(content: _Content, marks: Table, drawn: Table, others: dict[str, Table]) -> dict[str, Any]:
    across, up = drawing.axes_of(content.sweep.space.objectives)
    keys = charts.keys_of(drawn)
    on_front = set(charts.keys_of(content.front))
    recommended = content.recommended.key if content.recommended else None
    order = sorted(keys, key=lambda key: (key != recommended, key not in on_front, key))
    return {
        "trials": charts.trial_columns(drawn, across, up),
        "parameters": parameters.parameters(content.sweep.space, drawn),
        "charts": charts.front_chart(
            content.sweep.space,
            marks,
            content.front,
            drawn,
            references=published.references(published.kinds_of(content.trials)),
            beside=others,
            confirmed=content.confirmed,
        ),
        "recommended": keys.index(recommended) if recommended in keys else None,
        "hypervolume": charts.hypervolume(content.networks, content.objectives),
        "curves": charts.curves(content.networks, list(dict.fromkeys(trial for trial, _ in order))),
        "curveMetrics": charts.curve_metrics(),
        "layers": charts.layers(content.sweep.layers(drawn), order),
        "effects": parameters.effects(content.best, content.sweep.space),
        "train": answer.train_command(content.sweep.paths),
    }


def _mask(content: _Content, draw_mask: DrawMask | None) -> tuple[str, str]:
    """Embedded figure of the recommended network's mask, or the reason why there is none."""
    if content.recommended is None:
        return "", "No network is recommended."
    key, name = content.recommended.key, content.recommended.name
    kept = content.sweep.paths.mask(*key)
    picture = kept.with_suffix(".png")
    if not kept.exists():
        return "", f"The mask of network {name} was not kept."
    if not picture.exists():
        if draw_mask is None:
            which = f"{content.sweep.paths.name}:{name}{content.sweep.paths.root_option}"
            return "", f"Draw it, then write this page again: sweeps layers {which}"
        try:
            draw_mask(content.sweep.paths, key)
        except ConfigError as error:
            return "", str(error)
    return embed_png(picture.read_bytes()), ""

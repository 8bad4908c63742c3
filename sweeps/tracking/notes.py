"""What MLflow's page says in words of a sweep and of its trials: short notes in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.analysis.front_rows import FrontRows, name_of
from sweeps.analysis.recommendation import Recommendation
from sweeps.objectives import network_name

NOTE = "mlflow.note.content"
"""The tag that MLflow's page shows as a description."""
MOST_ROWS = 12
"""Networks of the front that a note lists."""

Row = Mapping[str, Any]


def trial_note(sweep: str, row: Row) -> str:
    """How a trial ended, its best network, and the command that trains that again.

    Args:
        sweep: Name of the sweep.
        row: The ended trial, with the columns of `sweeps.results`.
    """
    epochs = row["epochs_done"] or 0
    after = f"after {epochs} epoch{'' if epochs == 1 else 's'}"
    word = {"failed": "**Failed**", "stopped": "**Stopped early**"}.get(row["state"], "Finished")
    said = f"{word} {after}" + (f": {row['reason']}" if row["state"] == "failed" else "")
    if row["best_epoch"] is None:
        return f"{said}. Train it again: `sweeps train {sweep}:{row['trial']}`"
    reached = f"{_percent(row['best_estimate'])} expected accuracy at {_percent(row['best_remaining'])} remaining"
    name = network_name((row["trial"], row["best_epoch"]))
    return f"{said}. Best network: **{name}**, {reached}. Train it again: `sweeps train {sweep}:{name}`"


def sweep_note(
    space: SearchSpace, front: FrontRows, recommended: Recommendation | None, counts: Mapping[str, int]
) -> str:
    """What a sweep found: the recommended network, the front, what to search for and what to do next.

    Args:
        space: As it was run.
        front: Its front.
        recommended: The network to take; None while there is none.
        counts: Ended trials by state.
    """
    fixed = space.fixed
    what = f"{fixed.get('network', 'networks')} on {fixed.get('dataset', 'data')}"
    ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none ended"
    if recommended is None:
        return f"**No network to recommend yet**: {what}; trials: {ended}."
    reached = recommended.metrics
    lines = [
        f"**Recommended: network {recommended.name}**, {_percent(reached['estimate'])} expected accuracy at "
        f"{_percent(reached['remaining'])} remaining weights; {what}; trials: {ended}.",
        "",
        "Search: `tags.front LIKE '%'` or `metrics.best_remaining < 0.03 and metrics.best_estimate > 0.97`. Next:",
        "",
        "```sh",
        *recommended.commands.values(),
        "```",
        "",
        *_front_lines(front),
    ]
    return "\n".join(lines)


def _front_lines(front: FrontRows) -> list[str]:
    lines = [_line(["network", *front.headings]), "|" + "---|" * (1 + len(front.headings))]
    step = max(1, -(-len(front.rows) // MOST_ROWS))
    lines += [_line([name_of(row), *front.cells(row)]) for row in front.rows[::step]]
    if step > 1:
        lines += ["", f"The front has {len(front.rows)} networks; every {step}th is shown."]
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"

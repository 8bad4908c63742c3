"""What MLflow's page says in words of a sweep and of its trials: short notes in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.analysis.front_rows import FrontRows
from sweeps.analysis.recommendation import Recommendation

NOTE = "mlflow.note.content"
"""The tag that MLflow's page shows as a description."""
MOST_ROWS = 12
"""Trials of the front that a note lists."""

Row = Mapping[str, Any]


def trial_note(sweep: str, row: Row) -> str:
    """What a trial reached, and the command that trains it again.

    Args:
        sweep: Name of the sweep.
        row: The ended trial, with the columns of `sweeps.results`.
    """
    epochs = row["epochs_done"] or 0
    after = f"after {epochs} epoch{'' if epochs == 1 else 's'}"
    if row["state"] == "failed":
        said = f"**Failed** {after}: {row['reason']}"
    else:
        word = "" if row["state"] == "finished" else f"**Stopped early** {after}: "
        said = f"{word}{_percent(row['val_accuracy'])} validation accuracy at {_percent(row['remaining'])} remaining"
        said += f" {after}" if row["state"] == "finished" else ""
    return f"{said}. Train it again: `sweeps train {sweep}:{row['trial']}`"


def sweep_note(
    space: SearchSpace, front: FrontRows, recommended: Recommendation | None, counts: Mapping[str, int]
) -> str:
    """What a sweep found: the recommended trial, the front, what to search for and what to do next.

    Args:
        space: As it was run.
        front: Its front.
        recommended: The trial to take; None while there is none.
        counts: Ended trials by state.
    """
    fixed = space.fixed
    what = f"{fixed.get('network', 'networks')} on {fixed.get('dataset', 'data')}"
    ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none ended"
    if recommended is None:
        return f"**No trial to recommend yet**: {what}; trials: {ended}."
    reached = recommended.metrics
    lines = [
        f"**Recommended: trial {recommended.trial}**, {_percent(reached['val_accuracy'])} validation accuracy at "
        f"{_percent(reached['remaining'])} remaining weights; {what}; trials: {ended}.",
        "",
        "Search: `tags.front = 'true'` or `metrics.remaining < 0.03 and metrics.val_accuracy > 0.97`. Next:",
        "",
        "```sh",
        *recommended.commands.values(),
        "```",
        "",
        *_front_lines(front),
    ]
    return "\n".join(lines)


def _front_lines(front: FrontRows) -> list[str]:
    lines = [_line(["trial", *front.headings]), "|" + "---|" * (1 + len(front.headings))]
    step = max(1, -(-len(front.rows) // MOST_ROWS))
    lines += [_line([str(row["trial"]), *front.cells(row)]) for row in front.rows[::step]]
    if step > 1:
        lines += ["", f"The front has {len(front.rows)} trials; every {step}th is shown."]
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"

"""What MLflow's page says in words of a sweep and of its trials: short notes in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.space import SearchSpace
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
    space: SearchSpace, front: Sequence[Row], recommended: Recommendation | None, counts: Mapping[str, int]
) -> str:
    """What a sweep found: the recommended trial, the front, what to search for and what to do next.

    Args:
        space: As it was run.
        front: Its trials, with the columns of `sweeps.results`.
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
        *_front_table(front, [field for field in space.parameters if front[0].get(field) is not None]),
    ]
    return "\n".join(lines)


def _front_table(front: Sequence[Row], fields: Sequence[str]) -> list[str]:
    heading = ["trial", "val accuracy", "remaining", "test accuracy", *(field.replace("_", " ") for field in fields)]
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    step = max(1, -(-len(front) // MOST_ROWS))
    for row in front[::step]:
        metrics = [_percent(row[name]) for name in ("val_accuracy", "remaining", "test_accuracy")]
        lines.append("| " + " | ".join([str(row["trial"]), *metrics, *(_short(row[field]) for field in fields)]) + " |")
    if step > 1:
        lines += ["", f"The front has {len(front)} trials; every {step}th is shown."]
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

"""The sweep as a whole in MLflow: numbers, note, files, and the tags of the front."""

import itertools
import json
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from search_spaces.space import Constraint
from sweeps.analysis.front_rows import front_rows
from sweeps.analysis.recommendation import recommend
from sweeps.networks import with_trials
from sweeps.results import BEST, ResultsWriter, epochs_table, trials_table
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking.backlog import News
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.notes import NOTE, sweep_note, trial_note
from sweeps.tracking.overview import DIGEST, Overview, overview
from sweeps.tracking.views import experiment_tags
from tests.sweeps.conftest import STARTED
from tests.sweeps.memory_store import MemoryStore

EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]
# Estimate and remaining: 0 is the most accurate, 1 the knee, 2 the sparsest, 3 is beaten by 1, 4 failed.
POINTS = [(0.99, 0.5), (0.97, 0.05), (0.60, 0.02), (0.96, 0.30)]


@pytest.fixture
def rows(ended_row: EndedRow) -> list[dict[str, Any]]:
    ended = [
        ended_row(trial, estimate=estimate, val_accuracy=0.95, remaining=remaining)
        for trial, (estimate, remaining) in enumerate(POINTS)
    ]
    return [*ended, ended_row(4, "failed", val_accuracy=0.5, remaining=0.9)]


def look(paths: SweepPaths) -> Overview:
    return overview(StoredSweep.at(paths))


def show(store: MemoryStore, whole: Overview, state: str = "finished") -> None:
    Experiment(store, "small").conclude(state, whole)


def tagged(store: MemoryStore) -> dict[str, str]:
    return {run.tags["trial"]: run.tags["front"] for run in store.runs() if "front" in run.tags}


def gain(estimate: float, remaining: float) -> tuple[float, float]:
    """Both sides of what a network dominates: accuracy from guessing, decades of remaining weights."""
    return (estimate - 0.1) / 0.9, -math.log10(remaining) / 3


def test_the_numbers_of_a_sweep(tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep) -> None:
    whole = look(write_sweep(tmp_path, rows))
    corners = [gain(*point) for point in POINTS[:3]]
    widths = [high[1] - low[1] for low, high in zip([(0.0, 0.0), *corners], corners, strict=False)]
    volumes = list(itertools.accumulate(width * height for width, (height, _) in zip(widths, corners, strict=True)))
    assert whole.metrics == {
        "trials_finished": 4, "trials_stopped": 0, "trials_failed": 1, "best_estimate": 0.99,
        "hypervolume": pytest.approx(volumes[-1]),
        "recommended_estimate": 0.97, "recommended_standard_error": 0.01, "recommended_val_accuracy": 0.95,
        "recommended_remaining": 0.05,
    }  # fmt: skip
    assert (whole.front, whole.step, whole.tags["recommended"]) == ({0: (1,), 1: (1,), 2: (1,)}, 10, "1@1")
    # Two epochs of each trial, of which the second adds nothing.
    moments = [STARTED + timedelta(seconds=seconds) for seconds in (0, 0.5, 1)]
    assert [(step, moment) for step, moment, _ in whole.history] == list(zip((1, 3, 5), moments, strict=True))
    assert [volume for *_, volume in whole.history] == pytest.approx(volumes)


def test_the_front_keeps_to_the_constraints(
    tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep
) -> None:
    whole = look(write_sweep(tmp_path, rows, constraints=(Constraint("val_accuracy", ">=", 0.98),)))
    assert whole.front == {0: (1,)}
    assert whole.tags["recommended"] == "0@1"


def test_the_front_names_epochs_also_of_trials_that_failed_and_the_hypervolume_rises_with_them(
    tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep
) -> None:
    paths = write_sweep(tmp_path, rows)
    better = {"trial": 4, "attempt": 1, "train_loss": 0.3, "val_loss": 0.3, "val_accuracy": 0.9}
    writer = ResultsWriter(paths.folder)
    entries = [(3, 0.98, 0.2), (4, 0.98, 0.3), (5, 0.5, 0.01)]
    writer.add_epochs(
        epochs_table(better | {"epoch": e, "estimate": estimate, "remaining": left} for e, estimate, left in entries)
    )
    writer.flush()
    whole = look(paths)
    assert whole.front == {0: (1,), 1: (1,), 2: (1,), 4: (3, 5)}
    assert whole.step == 13
    # Networks of an older version have no time of their own; they count behind those that do.
    assert [(step, moment is None) for step, moment, _ in whole.history] == [
        (1, False), (3, False), (5, False), (11, True), (13, True),
    ]  # fmt: skip
    store = MemoryStore()
    show(store, whole)
    assert [step for step, _ in store.history(next(iter(store.all)), "hypervolume")] == [1, 3, 5, 11, 13]
    assert whole.metrics["hypervolume"] == whole.history[-1][2]


def test_a_sweep_without_results_recommends_nothing(tmp_path: Path, write_sweep: WriteSweep) -> None:
    whole = look(write_sweep(tmp_path, []))
    assert whole.front == {}
    assert "recommended" not in whole.tags
    assert whole.tags[NOTE] == "**No network to recommend yet**: fcn on digits; trials: none ended."


def test_the_parent_shows_the_whole_and_showing_it_again_changes_nothing(
    tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep
) -> None:
    paths = write_sweep(tmp_path, rows)
    paths.front_png.write_bytes(b"png")
    store, whole = MemoryStore(), look(paths)
    for row in rows:
        Experiment(store, "small").rebuild(News(row["trial"], [], row))
    show(store, whole)
    parent = next(run for run in store.runs() if run.tags["role"] == "sweep")
    assert {name: value for name, (_, value) in parent.latest.items()} == whole.metrics
    assert [value for _, value in store.history(parent.run_id, "hypervolume")] == [
        volume for _, _, volume in (*whole.history, whole.history[-1])
    ]
    assert parent.tags[NOTE] == store.labels[NOTE] == whole.tags[NOTE]
    assert tagged(store) == {"0": "1", "1": "1", "2": "1"}
    names = {name.rpartition("/")[2] for name in store.files}
    assert names == {"trials.parquet", "space.yaml", "front.png"}
    (tmp_path / "copy.parquet").write_bytes(store.files[f"{parent.run_id}/trials.parquet"])
    assert pq.read_table(tmp_path / "copy.parquet").column("trial").to_pylist() == [0, 1, 2, 3, 4]
    requests = store.requests
    show(store, look(paths))
    assert store.requests == requests
    paths.report.write_text("<p>report</p>")
    show(store, look(paths))
    assert store.files[f"{parent.run_id}/report.html"] == b"<p>report</p>"


def test_files_that_were_not_all_kept_are_kept_again(
    tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, whole = MemoryStore(), look(write_sweep(tmp_path, rows))

    def refuse(*_: Any) -> None:
        raise ConnectionError

    kept = store.keep
    monkeypatch.setattr(store, "keep", refuse)
    with pytest.raises(ConnectionError):
        show(store, whole)
    monkeypatch.setattr(store, "keep", kept)
    show(store, whole)
    assert len(store.files) == 2
    assert DIGEST in next(iter(store.runs())).tags


def test_trials_that_leave_the_front_lose_its_tag(ended_row: EndedRow) -> None:
    store = MemoryStore()
    for trial in range(3):
        Experiment(store, "small").rebuild(News(trial, [], ended_row(trial)))
    experiment = Experiment(store, "small")
    experiment.mark_front({0: (12, 14, 30), 2: (7,)})
    assert tagged(store) == {"0": "12,14,30", "2": "7"}
    requests = store.requests
    experiment.mark_front({0: (12, 14, 30), 2: (7,)})
    assert store.requests == requests
    experiment.mark_front({1: (3,), 2: (7, 8)})
    assert tagged(store) == {"1": "3", "2": "7,8"}
    assert all("front" not in run.tags for run in store.runs() if run.tags.get("trial") == "0")


def test_a_number_that_changed_at_the_same_step_is_told_anew(
    tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep, ended_row: EndedRow
) -> None:
    store = MemoryStore()
    show(store, look(write_sweep(tmp_path / "one", rows)))
    show(store, look(write_sweep(tmp_path / "two", [*rows, ended_row(5, "failed", epochs_done=0)])))
    (parent,) = store.runs()
    assert store.history(parent.run_id, "trials_failed") == [(10, 1.0), (10, 2.0)]
    assert store.history(parent.run_id, "trials_finished") == [(10, 4.0)]


@pytest.mark.parametrize(
    ("state", "changes", "note"),
    [
        ("finished", {}, "Finished after 2 epochs"),
        ("stopped", {"epochs_done": 1}, "**Stopped early** after 1 epoch"),
        ("failed", {}, "**Failed** after 2 epochs: diverged: train_loss is nan after epoch 1"),
        ("failed", {"epochs_done": None, "reason": "out of memory"}, "**Failed** after 0 epochs: out of memory"),
    ],
)
def test_the_note_of_a_trial(ended_row: EndedRow, state: str, changes: dict[str, Any], note: str) -> None:
    row = ended_row(5, state, **changes) | dict.fromkeys(BEST)
    assert trial_note("small", row) == f"{note}. Train it again: `sweeps train small:5`"
    assert trial_note("small", row | {"best_epoch": 1, "best_estimate": 0.9, "best_remaining": 0.5}) == (
        f"{note}. Best network: **5@1**, 90.00 % expected accuracy at 50.00 % remaining. "
        "Train it again: `sweeps train small:5@1`"
    )


def test_the_note_of_a_sweep_stays_short_however_long_its_front_is(
    ended_row: EndedRow, epoch_rows: Callable[..., Any], small_space: Callable[..., Any]
) -> None:
    rows = [ended_row(trial, val_accuracy=0.9 - trial / 2000, epochs_done=1) for trial in range(1000)]
    networks = epochs_table(epoch for row in rows for epoch in epoch_rows(row)).drop_columns(["layers"])
    best, space = recommend(networks, trials_table(rows), small_space()), small_space()
    assert best
    front = with_trials(networks, trials_table(rows))
    note = sweep_note(space, front_rows(front, space), best, {"finished": 1000, "stopped": 0, "failed": 3})
    trial = best.key[0]
    assert note.startswith(f"**Recommended: network {trial}@1**, {100 * (0.9 - trial / 2000):.2f} % expected accuracy")
    assert note.splitlines()[0].endswith(" remaining weights; fcn on digits; trials: 1000 finished, 3 failed.")
    assert f"\nsweeps confirm small --select {trial}@1 --seeds 10\n" in note
    headings = (
        "| network | estimate % | val accuracy % | remaining % | test accuracy % | pruning rate | learning rate |"
    )
    assert f"\n{headings}\n" in note
    assert "\n| 0@1 | 90.00 ± 1.00 | 90.00 | 50.00 | 88.00 | 0.5 | 0.05 |\n" in note
    assert "The front has 1000 networks; every 84th is shown." in note
    assert len(note) < 5000  # MLflow cuts longer ones off


def test_the_views_name_what_the_space_searches(small_space: Callable[..., Any]) -> None:
    tags = experiment_tags(small_space(), "5e")
    whole, front = (json.loads(tags[f"mlflow.sharedViewState.{view}-5e"]) for view in ("sweep", "front"))
    assert whole["searchFilter"] == "tags.sweep_id = '5e'"
    assert front == whole | {"searchFilter": "tags.sweep_id = '5e' and tags.front LIKE '%'"}
    assert whole["selectedColumns"][:4] == [
        "metrics.`best_epoch`", "metrics.`best_estimate`", "metrics.`best_remaining`", "params.`pruning_rate`",
    ]  # fmt: skip
    assert (whole["orderByKey"], whole["orderByAsc"]) == ("metrics.`best_estimate`", False)

"""The sweep as a whole in MLflow: numbers, note, files, and the tags of the front."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from search_spaces.space import Constraint
from sweeps.analysis.front_rows import front_rows
from sweeps.analysis.recommendation import recommend
from sweeps.results import trials_table
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking.backlog import News
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.notes import NOTE, sweep_note, trial_note
from sweeps.tracking.overview import DIGEST, Overview, overview
from sweeps.tracking.views import experiment_tags
from tests.sweeps.memory_store import MemoryStore

EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]
# Accuracy and remaining: 0 is the most accurate, 1 the knee, 2 the sparsest, 3 is beaten by 1, 4 failed.
POINTS = [(0.99, 0.5), (0.97, 0.05), (0.60, 0.02), (0.96, 0.30)]


@pytest.fixture
def rows(ended_row: EndedRow) -> list[dict[str, Any]]:
    ended = [
        ended_row(trial, val_accuracy=accuracy, remaining=remaining)
        for trial, (accuracy, remaining) in enumerate(POINTS)
    ]
    return [*ended, ended_row(4, "failed")]


def look(paths: SweepPaths) -> Overview:
    return overview(StoredSweep.at(paths))


def show(store: MemoryStore, whole: Overview, state: str = "finished") -> None:
    Experiment(store, "small").conclude(state, whole)


def tagged(store: MemoryStore) -> list[str]:
    return [run.tags["trial"] for run in store.runs() if run.tags.get("front") == "true"]


def test_the_numbers_of_a_sweep(tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep) -> None:
    whole = look(write_sweep(tmp_path, rows))
    assert whole.metrics == {
        "trials_finished": 4, "trials_stopped": 0, "trials_failed": 1, "best_val_accuracy": 0.99,
        "hypervolume": pytest.approx(0.99 * 0.5 + 0.97 * 0.45 + 0.60 * 0.03),
        "recommended_val_accuracy": 0.97, "recommended_remaining": 0.05, "recommended_test_accuracy": 0.88,
    }  # fmt: skip
    assert (whole.front, whole.step, whole.tags["recommended"]) == ({0, 1, 2}, 4, "1")
    assert [(step, round(volume, 6)) for step, _, volume in whole.history] == [(1, 0.495), (2, 0.9315), (3, 0.9495)]
    assert whole.history[1][1] - whole.history[0][1] == timedelta(seconds=1)


def test_the_front_keeps_to_the_constraints(
    tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep
) -> None:
    whole = look(write_sweep(tmp_path, rows, constraints=(Constraint("val_accuracy", ">=", 0.98),)))
    assert whole.front == {0}
    assert whole.tags["recommended"] == "0"


def test_a_sweep_without_results_recommends_nothing(tmp_path: Path, write_sweep: WriteSweep) -> None:
    whole = look(write_sweep(tmp_path, []))
    assert whole.front == frozenset()
    assert "recommended" not in whole.tags
    assert whole.tags[NOTE] == "**No trial to recommend yet**: fcn on digits; trials: none ended."


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
    assert tagged(store) == ["0", "1", "2"]
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
    experiment.mark_front({0, 2})
    assert tagged(store) == ["0", "2"]
    experiment.mark_front({1, 2})
    assert tagged(store) == ["1", "2"]
    assert all("front" not in run.tags for run in store.runs() if run.tags.get("trial") == "0")


def test_a_number_that_changed_at_the_same_step_is_told_anew(
    tmp_path: Path, rows: list[dict[str, Any]], write_sweep: WriteSweep, ended_row: EndedRow
) -> None:
    store = MemoryStore()
    show(store, look(write_sweep(tmp_path / "one", rows)))
    show(store, look(write_sweep(tmp_path / "two", [*rows, ended_row(5, "failed")])))
    (parent,) = store.runs()
    assert store.history(parent.run_id, "trials_failed") == [(4, 1.0), (4, 2.0)]
    assert store.history(parent.run_id, "trials_finished") == [(4, 4.0)]


@pytest.mark.parametrize(
    ("state", "changes", "note"),
    [
        ("finished", {}, "90.00 % validation accuracy at 50.00 % remaining after 2 epochs. "),
        ("stopped", {"epochs_done": 1}, "**Stopped early** after 1 epoch: 90.00 % validation accuracy at 50.00 % rem"),
        ("failed", {}, "**Failed** after 2 epochs: diverged: train_loss is nan after epoch 1. "),
        ("failed", {"epochs_done": None, "reason": "out of memory"}, "**Failed** after 0 epochs: out of memory. "),
    ],
)
def test_the_note_of_a_trial(ended_row: EndedRow, state: str, changes: dict[str, Any], note: str) -> None:
    found = trial_note("small", ended_row(0, state, **changes))
    assert found.startswith(note)
    assert found.endswith("Train it again: `sweeps train small:0`")


def test_the_note_of_a_sweep_stays_short_however_long_its_front_is(
    ended_row: EndedRow, small_space: Callable[..., Any]
) -> None:
    front = trials_table([ended_row(trial, val_accuracy=0.9 - trial / 2000) for trial in range(1000)])
    best, space = recommend(front, small_space()), small_space()
    assert best
    note = sweep_note(space, front_rows(front, space), best, {"finished": 1000, "stopped": 0, "failed": 3})
    assert note.startswith(f"**Recommended: trial {best.trial}**, {100 * (0.9 - best.trial / 2000):.2f} % validation ")
    assert note.splitlines()[0].endswith(" remaining weights; fcn on digits; trials: 1000 finished, 3 failed.")
    assert f"\nsweeps confirm small --select {best.trial} --seeds 10\n" in note
    assert "| trial | val accuracy % | remaining % | test accuracy % | pruning rate | learning rate |\n" in note
    assert "| 0 | 90.00 | 50.00 | 88.00 | 0.5 | 0.05 |\n" in note
    assert "The front has 1000 trials; every 84th is shown." in note
    assert len(note) < 5000  # MLflow cuts longer ones off


def test_the_views_name_what_the_space_searches(small_space: Callable[..., Any]) -> None:
    tags = experiment_tags(small_space(), "5e")
    whole, front = (json.loads(tags[f"mlflow.sharedViewState.{view}-5e"]) for view in ("sweep", "front"))
    assert whole["searchFilter"] == "tags.sweep_id = '5e'"
    assert front == whole | {"searchFilter": "tags.sweep_id = '5e' and tags.front = 'true'"}
    assert whole["selectedColumns"][:4] == [
        "metrics.`val_accuracy`", "metrics.`remaining`", "metrics.`test_accuracy`", "params.`pruning_rate`",
    ]  # fmt: skip
    assert (whole["orderByKey"], whole["orderByAsc"]) == ("metrics.`val_accuracy`", False)

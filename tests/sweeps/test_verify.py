"""Three stores that agree, and one difference at a time put into one of them."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from search_spaces.space import SearchSpace
from supermask.config import TrainConfig
from sweeps import results
from sweeps.results import BEST, ResultsWriter
from sweeps.search.study import SweepStudy
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking import mirrored, mlflow_store
from sweeps.tracking.notes import NOTE
from sweeps.tracking.overview import overview
from sweeps.tracking.replay import sync
from sweeps.verify import verify

Row = dict[str, Any]
STATES = ("finished", "finished", "failed", "stopped")
VOLUME = 0.17727321966878892
"""Of accuracies 0.9 and 0.89 at 50 % and 25 % remaining: log10(2) / 3 * (0.8 + 0.79) / 0.9."""


def add_runs(paths: SweepPaths, uri: str | None = None) -> int:
    whole = overview(StoredSweep.at(paths))
    uri = uri or mlflow_store.default_uri(paths.root)
    return sync(uri, paths.name, root=paths.root, overview=whole)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root for the sweeps that agree: making MLflow's tables takes seconds."""
    return tmp_path_factory.mktemp("pristine")


@pytest.fixture
def space(small_space: Callable[..., SearchSpace]) -> SearchSpace:
    return small_space(trials=5)


@pytest.fixture
def paths(
    tmp_path: Path,
    pristine: Path,
    space: SearchSpace,
    ended_row: Callable[..., Row],
    epoch_rows: Callable[[Row], list[Row]],
) -> SweepPaths:
    """A sweep of four ended trials and one that waits."""
    if not (pristine / space.name).exists():
        fill(SweepPaths(pristine, space.name), space, ended_row, epoch_rows)
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    return SweepPaths(tmp_path, space.name)


def fill(
    paths: SweepPaths, space: SearchSpace, ended_row: Callable[..., Row], epoch_rows: Callable[[Row], list[Row]]
) -> None:
    paths.folder.mkdir()
    paths.space.write_text(space.to_yaml())
    study = SweepStudy(space, paths.journal)
    rows = [ended_row(number, state) | study.ask().config.to_dict() for number, state in enumerate(STATES)]
    study.ask()
    # A failed trial without any epoch, and metrics that are no numbers, are nothing to complain about.
    nothing = dict.fromkeys(("train_loss", "val_loss", "val_accuracy", "remaining", "inverted"))
    rows[2] |= {"epochs_done": 0, **nothing}
    rows[3] |= {"val_loss": float("nan"), "test_loss": None, "test_accuracy": None}
    writer = ResultsWriter(paths.folder)
    writer.add_trials(results.trials_table(rows))
    writer.add_epochs(results.epochs_table(epoch for row in rows for epoch in epoch_rows(row)))
    writer.flush()
    for row in rows:
        study.tell([row])
    add_runs(paths)


def edit(folder: Path, change: Callable[[list[Row]], Any]) -> None:
    """Rewrites the rows of a folder of Parquet files with one file."""
    (part,) = folder.glob("part-*.parquet")
    found = pq.read_table(part)
    rows = found.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=found.schema), part)


def differences(paths: SweepPaths, space: SearchSpace) -> list[str]:
    found = verify(StoredSweep(paths, space), None)
    assert found["ok"] is (not found["differences"])
    return found["differences"]


def client(paths: SweepPaths) -> MlflowClient:
    return MlflowClient(mlflow_store.default_uri(paths.root), mlflow_store.default_uri(paths.root))


def run_of(paths: SweepPaths, trial: int) -> str:
    found = mirrored.read(mlflow_store.default_uri(paths.root), paths.name, root=paths.root)
    (run_id,) = [run.run_id for run in found if run.trial == trial]
    return run_id


def test_stores_that_agree(paths: SweepPaths, space: SearchSpace) -> None:
    assert verify(StoredSweep(paths, space), None) == {
        "ok": True, "trials": 5, "mlflow_runs": 4, "finished_twice": [], "differences": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "column", [*TrainConfig().to_dict(), "val_accuracy", "remaining", "test_loss", "attempt", "reason"]
)
def test_a_changed_value_in_parquet_is_found_in_every_column(
    paths: SweepPaths, space: SearchSpace, column: str
) -> None:
    def change(rows: list[Row]) -> None:
        old = rows[1][column]
        rows[1][column] = "other" if isinstance(old, str) or old is None else type(old)(old * 1.0000001 + 1)

    edit(paths.trials, change)
    found = differences(paths, space)
    assert any(line.startswith(f"trial 1: {column} ") and "in the study" in line for line in found), found
    assert {line.split(":")[0] for line in found} == {"trial 1"}
    if column != "reason":
        assert any(line.startswith(f"trial 1: {column} ") and line.endswith("in MLflow") for line in found), found


def test_a_value_that_is_off_by_one_bit_is_found(paths: SweepPaths, space: SearchSpace) -> None:
    def change(rows: list[Row]) -> None:
        rows[0]["estimate"] = 0.9000000000000001

    edit(paths.trials, change)
    log_half = math.log10(0.5)
    assert differences(paths, space) == [
        "trial 0: estimate 0.9 in the study, 0.9000000000000001 in Parquet",
        f"trial 0: objectives [0.9, {log_half}] in the study, [0.9000000000000001, {log_half}] in Parquet",
        "trial 0: estimate 0.9000000000000001 in Parquet, 0.9 in MLflow",
    ]


def test_a_changed_state_is_found(paths: SweepPaths, space: SearchSpace) -> None:
    edit(paths.trials, lambda rows: rows[3].update(state="failed"))
    assert differences(paths, space) == [
        "trial 3: state stopped in the study, failed in Parquet",
        "trial 3: state 'failed' in Parquet, 'stopped' in MLflow",
    ]


def test_missing_epochs_are_found(paths: SweepPaths, space: SearchSpace) -> None:
    edit(paths.epochs, lambda rows: rows.pop())
    assert differences(paths, space) == ["trial 3: 2 epochs done, but 1 epoch rows in Parquet"]


def test_a_trial_that_is_missing_in_parquet_is_found(paths: SweepPaths, space: SearchSpace) -> None:
    edit(paths.trials, lambda rows: rows.pop(1))
    assert differences(paths, space) == ["trial 1: finished in the study, not in Parquet"]


def test_a_trial_that_is_missing_in_the_study_is_found(
    paths: SweepPaths, space: SearchSpace, ended_row: Callable[..., Row], epoch_rows: Callable[[Row], list[Row]]
) -> None:
    row = ended_row(9)
    writer = ResultsWriter(paths.folder)
    writer.add_trials(results.trials_table([row]))
    writer.add_epochs(results.epochs_table(epoch_rows(row)))
    writer.flush()
    assert differences(paths, space) == ["trial 9: not in the study", "trial 9: not in MLflow"]
    add_runs(paths)
    assert differences(paths, space) == ["trial 9: not in the study"]


def test_a_result_that_the_study_was_not_told_is_found(
    paths: SweepPaths, space: SearchSpace, ended_row: Callable[..., Row], epoch_rows: Callable[[Row], list[Row]]
) -> None:
    row = ended_row(4) | SweepStudy(space, paths.journal).open_trials()[0].config.to_dict()
    writer = ResultsWriter(paths.folder)
    writer.add_trials(results.trials_table([row]))
    writer.add_epochs(results.epochs_table(epoch_rows(row)))
    writer.flush()
    add_runs(paths)
    assert differences(paths, space) == ["trial 4: state waiting in the study, finished in Parquet"]
    SweepStudy(space, paths.journal).tell([row])
    assert differences(paths, space) == []


def test_a_run_that_is_missing_in_mlflow_is_found(paths: SweepPaths, space: SearchSpace) -> None:
    client(paths).delete_run(run_of(paths, 2))
    assert differences(paths, space) == ["trial 2: not in MLflow"]


def test_without_a_store_every_run_is_missing(paths: SweepPaths, space: SearchSpace) -> None:
    (paths.root / "mlflow.db").unlink()
    assert differences(paths, space) == [f"trial {number}: not in MLflow" for number in range(4)]
    assert not (paths.root / "mlflow.db").exists()


def test_a_second_run_of_a_trial_in_mlflow_is_found(paths: SweepPaths, space: SearchSpace) -> None:
    store = client(paths)
    run = store.get_run(run_of(paths, 2))
    store.create_run(run.info.experiment_id, tags=dict(run.data.tags))
    assert "trial 2: 2 runs in MLflow" in differences(paths, space)


def test_two_sweeps_of_one_name_in_one_store_are_compared_with_their_own_runs(
    paths: SweepPaths, space: SearchSpace
) -> None:
    uri, other = mlflow_store.default_uri(paths.root), SweepPaths(paths.root / "other", paths.name)
    shutil.copytree(paths.folder, other.folder)
    other.sweep_id.unlink()
    assert verify(StoredSweep(other, space), uri)["mlflow_runs"] == 0
    add_runs(other, uri)
    for own in (paths, other):
        found = verify(StoredSweep(own, space), uri)
        assert (found["mlflow_runs"], found["differences"]) == (4, [])
    client(paths).delete_run(run_of(paths, 2))
    assert differences(paths, space) == ["trial 2: not in MLflow"]
    assert verify(StoredSweep(other, space), uri)["ok"]


def test_a_changed_metric_and_a_step_too_many_in_mlflow_are_found(paths: SweepPaths, space: SearchSpace) -> None:
    store = client(paths)
    store.log_metric(run_of(paths, 0), "remaining", 0.25, step=2)
    store.log_metric(run_of(paths, 1), "val_accuracy", 0.89, step=3)
    assert differences(paths, space) == [
        "trial 0: remaining 0.5 in Parquet, 0.25 in MLflow",
        "trial 1: 2 epochs in Parquet, 3 steps in MLflow",
    ]


def test_the_last_fractions_of_a_layer_are_compared(paths: SweepPaths, space: SearchSpace) -> None:
    layers = [{"name": "linear1", "remaining": 0.1, "inverted": 0.5}]  # 0.1 is not the same in float32
    edit(paths.trials, lambda rows: rows[0].update(layers=layers))
    assert differences(paths, space) == [
        "trial 0: layers/linear1/remaining 0.10000000149011612 in Parquet, None in MLflow",
        "trial 0: layers/linear1/inverted 0.5 in Parquet, None in MLflow",
    ]
    assert add_runs(paths) == 1
    assert differences(paths, space) == []
    assert add_runs(paths) == 0


@pytest.mark.parametrize("name", ["epoch", "estimate", "standard_error", "remaining"])
def test_a_changed_best_network_in_mlflow_is_found_and_mended(paths: SweepPaths, space: SearchSpace, name: str) -> None:
    before = client(paths).get_run(run_of(paths, 1)).data.metrics[f"best_{name}"]
    client(paths).log_metric(run_of(paths, 1), f"best_{name}", 0.125, step=2)
    assert differences(paths, space)[0].startswith(f"trial 1: best_{name} {before:g}")
    assert differences(paths, space)[0].endswith(" in Parquet, 0.125 in MLflow")
    assert add_runs(paths) == 1
    assert differences(paths, space) == []


def test_a_sweep_from_before_there_were_estimates_agrees(
    tmp_path: Path, space: SearchSpace, ended_row: Callable[..., Row], epoch_rows: Callable[[Row], list[Row]]
) -> None:
    def old_row(*arguments: Any) -> Row:
        return ended_row(*arguments) | dict.fromkeys(("estimate", "standard_error", *BEST))

    paths = SweepPaths(tmp_path, space.name)
    fill(paths, space, old_row, epoch_rows)
    assert differences(paths, space) == []
    metrics = client(paths).get_run(run_of(paths, 1)).data.metrics
    assert metrics["val_accuracy"] == 0.89
    assert not [name for name in metrics if name.startswith("best_")]
    assert add_runs(paths) == 0


def test_trials_that_have_begun_are_no_difference(
    paths: SweepPaths, space: SearchSpace, ended_row: Callable[..., Row]
) -> None:
    config = SweepStudy(space, paths.journal).open_trials()[0].config.to_dict()
    writer = ResultsWriter(paths.folder)
    writer.add_trials(results.trials_table([ended_row(4, "running", epochs_done=0, ended=None) | config]))
    writer.flush()
    assert differences(paths, space) == []
    assert add_runs(paths) == 0


def test_a_changed_tag_in_mlflow_is_found(paths: SweepPaths, space: SearchSpace) -> None:
    client(paths).set_tag(run_of(paths, 2), "attempt", "4")
    assert differences(paths, space) == ["trial 2: attempt 1 in Parquet, 4 in MLflow"]


def test_a_trial_that_finished_twice_is_found(
    paths: SweepPaths, space: SearchSpace, ended_row: Callable[..., Row]
) -> None:
    def repeat(rows: list[Row]) -> None:
        rows.append(rows[0] | {"attempt": 2})

    edit(paths.trials, repeat)
    found = verify(StoredSweep(paths, space), None)
    assert found["finished_twice"] == [0]
    assert not found["ok"]
    assert found["differences"][0] == "trial 0: finished more than once"


def test_a_changed_configuration_in_the_study_is_found(paths: SweepPaths, space: SearchSpace) -> None:
    text = paths.journal.read_text()
    assert '"epochs":2' in text
    paths.journal.write_text(text.replace('"epochs":2', '"epochs":3', 1))
    assert differences(paths, space) == ["trial 0: epochs 3 in the study, 2 in Parquet"]


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda store, of: store.delete_tag(of(0), "front"),
            "trial 0: epochs on the front '1' in Parquet, None in MLflow",
        ),
        (
            lambda store, of: store.set_tag(of(1), "front", "1,2"),
            "trial 1: epochs on the front '1' in Parquet, '1,2' in MLflow",
        ),
        (
            lambda store, of: store.set_tag(of(2), "front", "1"),
            "trial 2: epochs on the front None in Parquet, '1' in MLflow",
        ),
        (lambda store, of: store.set_tag(of(3), NOTE, "mine"), "trial 3: its note in MLflow is out of date"),
        (lambda store, of: store.set_tag(of(None), NOTE, "mine"), f"sweep: its tag {NOTE} in MLflow is out of date"),
        (
            lambda store, of: store.log_metric(of(None), "hypervolume", 0.5, step=4),
            f"sweep: hypervolume {VOLUME!r} in Parquet, 0.5 in MLflow",
        ),
        (lambda store, of: store.delete_run(of(None)), "sweep: not in MLflow"),
    ],
)
def test_what_follows_from_the_trials_is_compared_and_mended(
    paths: SweepPaths, space: SearchSpace, spoil: Callable[..., None], line: str
) -> None:
    def of(trial: int | None) -> str:
        if trial is not None:
            return run_of(paths, trial)
        parent = mirrored.read_parent(mlflow_store.default_uri(paths.root), paths.name, root=paths.root)
        assert parent
        return parent.run_id

    spoil(client(paths), of)
    assert differences(paths, space) == [line]
    add_runs(paths)
    assert differences(paths, space) == []

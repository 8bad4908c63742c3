"""Networks: every trial after each of its epochs, with the configuration that ends with it."""

import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search_spaces.space import Constraint
from sweeps import networks, pareto
from sweeps.estimate import estimate
from sweeps.results import RUNNING, ResultsWriter, load
from sweeps.store.paths import SweepPaths
from tests.sweeps.conftest import SPACE
from tests.sweeps.result_rows import epoch_row, trial_row, write


def test_every_epoch_of_every_trial_is_a_network(tmp_path: Path) -> None:
    epochs = [epoch_row(1, 1), epoch_row(0, 2), epoch_row(0, 1), epoch_row(2, 1), epoch_row(2, 2, val_loss=math.nan)]
    states = {0: "finished", 1: RUNNING, 2: "failed"}
    write(tmp_path / "s", [trial_row(trial, state=state) for trial, state in states.items()], epochs)
    table = networks.load(tmp_path, "s")
    assert table.schema.equals(networks.NETWORKS)
    assert keys(table) == [(0, 1), (0, 2), (1, 1), (2, 1)]  # an epoch that diverged is none
    assert keys(networks.load(tmp_path, "s", trials=[0])) == [(0, 1), (0, 2)]


def test_of_an_epoch_that_several_attempts_reached_the_latest_counts(tmp_path: Path) -> None:
    again = [epoch_row(0, 1, attempt=2, remaining=0.25)]
    write(tmp_path / "s", [], [*again, epoch_row(0, 1), epoch_row(0, 2)])
    rows = networks.load(tmp_path, "s").to_pylist()
    assert [(row["epoch"], row["attempt"], row["remaining"]) for row in rows] == [(1, 2, 0.25), (2, 1, 0.5)]


def test_networks_of_an_older_version_are_judged_when_they_are_read(tmp_path: Path) -> None:
    accuracies = [0.1, 0.3, 0.5, 0.7, 0.9]
    epochs = [epoch_row(0, at, val_accuracy=value) for at, value in enumerate(accuracies, start=1)]
    write(tmp_path / "s", [], [*epochs, epoch_row(1, 1, val_accuracy=0.2)])
    path = tmp_path / "s" / "epochs" / "part-000001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["estimate", "standard_error", "ended"]), path)
    table = networks.load(tmp_path, "s")
    assert table.schema.equals(networks.NETWORKS)
    expected = [estimate(accuracies[: at + 1], images=10) for at in range(5)] + [estimate([0.2], images=10)]
    assert table.column("estimate").to_pylist() == pytest.approx([one.estimate for one in expected])
    assert table.column("standard_error").to_pylist() == pytest.approx([one.standard_error for one in expected])


def test_a_network_comes_with_the_configuration_that_ends_with_it(tmp_path: Path) -> None:
    trials = [trial_row(0, learning_rate=0.3, epochs=2), trial_row(1, state=RUNNING, epochs=2), trial_row(3)]
    write(tmp_path / "s", trials, [epoch_row(0, 1), epoch_row(0, 2), epoch_row(1, 1), epoch_row(2, 1)])
    table = networks.with_trials(networks.load(tmp_path, "s"), load(tmp_path, "s", running=True))
    rows = table.to_pylist()
    assert [(row["trial"], row["epoch"], row["epochs"]) for row in rows] == [(0, 1, 1), (0, 2, 2), (1, 1, 1)]
    assert [row["trial_state"] for row in rows] == ["finished", "finished", RUNNING]
    assert [row["learning_rate"] for row in rows] == [0.3, 0.3, 0.05]
    assert {row["val_accuracy"] for row in rows} == {0.5}  # of the network, not of its trial
    assert "state" not in table.column_names


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    """A sweep of which the last epochs are younger than its candidates."""
    found = SweepPaths(tmp_path, "s")
    points = [(0, 1, 0.5, 0.5), (0, 2, 0.4, 0.6), (1, 1, 0.3, 0.2), (0, 3, 0.6, 0.4), (1, 2, 0.2, 0.1)]
    rows = [epoch_row(trial, epoch, estimate=high, remaining=left) for trial, epoch, high, left in points]
    write(found.folder, [], rows[:3])
    networks.keep_candidates(found, SPACE, networks.load(tmp_path, "s"))
    write(found.folder, [], rows[3:])
    return found


def test_candidates_have_the_front_of_all_networks(paths: SweepPaths) -> None:
    found = networks.candidates(paths, SPACE)
    assert keys(found) == [(0, 1), (0, 3), (1, 1), (1, 2)]  # 0@2 is beaten by 0@1
    every = networks.load(paths.root, "s")
    assert pareto.front_of(found, SPACE).equals(pareto.front_of(every, SPACE))
    ResultsWriter(paths.folder).compact(more_than=1)  # what is merged is younger
    assert keys(networks.candidates(paths, SPACE)) == keys(every)
    networks.keep_candidates(paths, SPACE, every)
    assert keys(networks.candidates(paths, SPACE)) == [(0, 3), (1, 1), (1, 2)]


def test_a_candidate_that_is_trained_again_no_longer_beats_others(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path, "s")
    write(
        paths.folder, [], [epoch_row(0, 1, estimate=0.5, remaining=0.5), epoch_row(0, 2, estimate=0.6, remaining=0.4)]
    )
    networks.keep_candidates(paths, SPACE, networks.load(tmp_path, "s"))
    write(paths.folder, [], [epoch_row(0, 2, attempt=2, estimate=0.4, remaining=0.6)])  # from a checkpoint, elsewhere
    assert keys(pareto.front_of(networks.candidates(paths, SPACE), SPACE)) == [(0, 1)]


def test_an_epoch_that_diverged_since_does_not_make_all_be_read(paths: SweepPaths) -> None:
    write(paths.folder, [], [epoch_row(2, 1, estimate=None, standard_error=None, val_loss=math.nan)])
    assert keys(networks.candidates(paths, SPACE)) == [(0, 1), (0, 3), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("bound", "is_all"),
    [
        (Constraint("val_accuracy", ">=", 0.3), False),
        (Constraint("remaining", "<=", 0.3), False),
        (Constraint("remaining", ">=", 0.3), True),
        (Constraint("val_loss", "<=", 0.3), True),
    ],
)
def test_a_bound_that_what_beats_a_network_may_break_needs_all_networks(
    paths: SweepPaths, bound: Constraint, is_all: bool
) -> None:
    assert len(networks.candidates(paths, SPACE, asked=[bound])) == (5 if is_all else 4)
    assert len(networks.candidates(paths, replace(SPACE, constraints=(bound,)))) == (5 if is_all else 4)


def test_candidates_that_are_damaged_or_of_other_objectives_are_left_alone(paths: SweepPaths) -> None:
    other = replace(SPACE, objectives={"val_loss": "minimize", "remaining": "minimize"})
    assert len(networks.candidates(paths, other)) == 5
    paths.candidates.write_bytes(b"torn")
    assert len(networks.candidates(paths, SPACE)) == 5
    paths.candidates.unlink()
    assert len(networks.candidates(paths, SPACE)) == 5


def keys(table: pa.Table) -> list[tuple[int, int]]:
    return list(zip(table.column("trial").to_pylist(), table.column("epoch").to_pylist(), strict=True))

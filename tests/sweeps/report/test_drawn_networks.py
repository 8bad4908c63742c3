"""Which networks the numbers of a report show: of a sweep that ended, one that trains, and one of an older version."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from search_spaces.space import Constraint
from sweeps.report import document
from sweeps.results import RUNNING, ResultsWriter, epochs_table, trials_table
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from tests.sweeps.conftest import STARTED

Row = dict[str, Any]


def embedded(page: str) -> Row:
    """The numbers of a page's charts."""
    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def epoch_rows(trial: int, *points: tuple[float, float], **changes: Any) -> list[Row]:
    """Epochs of a trial at points of (estimate, remaining)."""
    metrics = {"train_loss": 0.3, "val_loss": 0.4, "val_accuracy": 0.5, "standard_error": 0.01, "inverted": 0.1}
    return [
        {"trial": trial, "attempt": 1, "epoch": epoch, "estimate": estimate, "remaining": remaining}
        | {"ended": STARTED + timedelta(seconds=epoch), "seconds": 1.0}
        | metrics
        | changes
        for epoch, (estimate, remaining) in enumerate(points, start=1)
    ]


def write_epochs(paths: SweepPaths, trials: list[Row], epochs: list[Row]) -> None:
    writer = ResultsWriter(paths.folder)
    writer.add_trials(trials_table(trials))
    writer.add_epochs(epochs_table(epochs))
    writer.flush()


def test_the_front_and_the_best_network_of_each_trial_are_drawn(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, [])
    # Trial 0 passes through two networks of the front; trial 1 is beaten everywhere, and its best is its second.
    epochs = [*epoch_rows(0, (0.8, 0.5), (0.9, 0.2), (0.85, 0.1)), *epoch_rows(1, (0.5, 0.9), (0.7, 0.6), (0.6, 0.6))]
    write_epochs(paths, [ended_row(trial, epochs_done=3) for trial in (0, 1)], epochs)
    page = document.write(StoredSweep.at(paths)).read_text()
    found = embedded(page)
    assert found["trials"]["name"] == ["0@2", "0@3", "1@2"]
    assert [found["trials"]["name"][row] for row in found["charts"]["front"]] == ["0@3", "0@2"]
    assert found["trials"]["y"] == [90, 85, 70]
    assert found["curves"].keys() == {"0", "1"}
    assert found["curves"]["0"]["epoch"] == [1, 2, 3]
    assert "2 finished, of 6 asked for; 6 networks; 12 s." in page
    assert found["hypervolume"]["networks"][-1] == 6


def test_a_network_that_breaks_a_constraint_is_not_drawn_as_the_best_of_its_trial(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, [], constraints=(Constraint("remaining", "<=", 0.1),))
    write_epochs(paths, [ended_row(0)], epoch_rows(0, (0.99, 0.2), (0.3, 0.1)))
    found = embedded(document.write(StoredSweep.at(paths)).read_text())
    assert found["trials"]["name"] == ["0@2"]
    assert found["recommended"] == 0


def test_a_sweep_that_trains_shows_the_front_of_trials_that_have_not_ended(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, [], asked=4, state="running")
    begun = ended_row(0, RUNNING, **dict.fromkeys(("ended", "epochs_done", "val_accuracy", "estimate", "seconds")))
    write_epochs(paths, [begun], epoch_rows(0, (0.8, 0.5), (0.9, 0.2)))
    page = document.write(StoredSweep.at(paths)).read_text()
    assert "no trial has ended, of 6 asked for; 2 networks; 12 s." in page
    assert "Take network 0@2" in page
    found = embedded(page)
    assert (found["trials"]["name"], found["charts"]["front"]) == (["0@2"], [0])
    assert found["trials"]["epochs"] == [None]


def test_a_network_of_an_earlier_attempt_has_its_layers(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    """A second attempt goes on from the checkpoint after epoch 2: the network on the front is of the first one."""
    paths = write_sweep(tmp_path, [])

    def layers(share: float) -> list[Row]:
        return [{"name": "linear1", "remaining": share, "inverted": 0.0}]

    first = epoch_rows(0, (0.6, 0.5), (0.9, 0.2), (0.7, 0.3), layers=layers(0.25))
    second = epoch_rows(0, (0.6, 0.5), (0.9, 0.2), (0.8, 0.3), attempt=2, layers=layers(0.5))[2:]
    write_epochs(paths, [ended_row(0, attempt=2, epochs_done=3)], [*first, *second])
    sweep = StoredSweep.at(paths)
    found = embedded(document.write(sweep).read_text())
    assert found["trials"]["name"] == ["0@2"]
    assert found["layers"] == {"0@2": {"name": ["linear1"], "remaining": [25], "inverted": [0]}}
    every = sweep.layers(sweep.networks()).to_pylist()
    assert [(row["epoch"], row["attempt"], row["layers"][0]["remaining"]) for row in every] == [
        *((1, 1, 0.25), (2, 1, 0.25), (3, 2, 0.5))
    ]
    assert sweep.layers(sweep.networks().slice(0, 0)).num_rows == 0


def test_networks_of_an_older_version_are_judged_and_have_no_hours(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, [])
    nothing = {"estimate": None, "standard_error": None, "ended": None}
    write_epochs(paths, [ended_row(0, **nothing | {"ended": STARTED})], epoch_rows(0, (0, 0.5), (0, 0.2), **nothing))
    found = embedded(document.write(StoredSweep.at(paths)).read_text())
    assert found["trials"]["name"] == ["0@2"]
    assert found["trials"]["y"][0] is not None
    assert set(found["hypervolume"]["hours"]) == {None}

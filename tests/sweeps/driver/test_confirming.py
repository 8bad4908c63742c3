"""Which trainings give the networks that are to be confirmed, and how they go on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from supermask.config import TrainConfig
from sweeps.driver.confirming import MOST_SEEDS, Training, lanes_of, trainings
from sweeps.worker import checkpoints
from sweeps.worker.checkpoints import Checkpoint, Reached, fingerprint

EndedRow = Callable[..., dict[str, Any]]
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


def test_trainings_come_seed_by_seed_and_columns_of_older_versions_have_defaults(ended_row: EndedRow) -> None:
    rows = [ended_row(1, epoch=2) | {"momentum": None}, ended_row(0, epoch=1), ended_row(1, epoch=5)]
    made = trainings(rows, [70, 71], {(1, 5, 1), (0, 1, 1)})
    assert [(one.trial, one.seed_index, one.config.seed, one.config.epochs, set(one.epochs)) for one in made] == [
        (1, 0, 70, 5, {2, 5}), (0, 0, 70, 1, {1}), (1, 1, 71, 2, {2}),
    ]  # fmt: skip
    assert made[0].config.momentum == TrainConfig().momentum
    assert made[0].config.data_seed == ended_row(1)["data_seed"]


@pytest.mark.parametrize(
    ("epochs", "goes_on"), [((9,), True), ((5, 9), True), ((4, 9), False), ((8,), False), ((9, 12), False)]
)
def test_a_training_goes_on_from_a_checkpoint_that_is_before_all_its_networks(
    tmp_path: Path, epochs: tuple[int, ...], goes_on: bool
) -> None:
    config = TrainConfig(dataset="digits", seed=7, epochs=9)
    reached = Reached(
        MOST_SEEDS * 3 + 1, attempt=2, epoch=4, seconds=6.0, started=MOMENT, config=fingerprint(config.to_dict())
    )
    checkpoints.write(tmp_path, Checkpoint(reached, [], {}))
    wanted = Training(3, 1, replace(config, epochs=max(epochs)), frozenset(epochs))
    (lane,) = lanes_of([wanted], tmp_path)
    assert (lane.trial, lane.config, lane.tested) == (reached.trial, wanted.config, wanted.epochs)
    if goes_on:
        assert (lane.attempt, lane.epoch, lane.seconds, lane.started) == (2, 4, 6.0, MOMENT)
    else:
        assert (lane.epoch, lane.seconds, lane.started) == (0, 0.0, None)
        assert lane.again(reached).epoch == 0  # nor does it after its pack was lost

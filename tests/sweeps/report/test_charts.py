"""The numbers that a report's charts draw."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from sweeps import pareto
from sweeps.figures.drawing import Reference
from sweeps.report import charts, parameters
from sweeps.results import epochs_table, load_epochs, trials_table
from sweeps.store.paths import SweepPaths

Row = dict[str, Any]


@pytest.mark.parametrize(
    ("count", "most", "rows"),
    [(0, 5, []), (1, 5, [0]), (3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (9, 5, [0, 2, 4, 6, 8]), (100, 2, [0, 99])],
)
def test_spread_keeps_first_and_last(count: int, most: int, rows: list[int]) -> None:
    assert charts.spread(count, most).tolist() == rows


def test_numbers_are_rounded_and_what_is_not_finite_is_none() -> None:
    values = [0.123456789, math.nan, math.inf, None, 7, "target"]
    assert charts.plain(values, 100) == [12.346, None, None, None, 7, "target"]
    assert charts.plain([123456.0, 123456.7]) == [123456, 123460]  # a trial's number, as the axis of one objective


def test_front_chart_is_in_percent_and_marks_the_front_from_sparse_to_dense(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    rows = [
        ended_row(0, val_accuracy=0.95, remaining=0.4),
        ended_row(1, val_accuracy=0.90, remaining=0.1),
        ended_row(2, val_accuracy=0.80, remaining=0.2),
    ]
    trials = trials_table(rows)
    space = small_space()
    found = charts.front_chart(
        space,
        trials,
        pareto.front(trials, space.objectives),
        trials,
        references=[Reference("published", 0.97, 0.03)],
        beside={"other": trials.slice(1, 1)},
        confirmed=[],
    )
    assert found["front"] == [1, 0]
    assert found["step"] == "post"
    assert found["references"] == [{"label": "published", "x": 3.0, "y": 97.0}]
    assert found["beside"] == [{"name": "other", "x": [10.0], "y": [90.0]}]
    assert (found["x"]["label"], found["x"]["log"]) == ("remaining weights (%)", True)
    for axis, values in ((found["x"], (3, 10, 40)), (found["y"], (90, 95, 97))):
        assert all(axis["low"] < value < axis["high"] for value in values)
    assert found["all"][1]["low"] < 80 < found["y"]["low"] + 10


def test_hypervolume_keeps_where_it_grew_and_the_end(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    accuracies = [0.5, 0.4, 0.6, 0.6, 0.3]
    trials = trials_table(ended_row(k, val_accuracy=value, remaining=0.5) for k, value in enumerate(accuracies))
    found = charts.hypervolume(trials, small_space())
    assert found["finished"] == [1, 3, 5]
    assert found["volume"] == [0.25, 0.3, 0.3]
    assert found["hours"] == pytest.approx([0, 2 / 3600, 4 / 3600], abs=1e-5)


def test_curves_stop_where_there_is_no_room_and_long_ones_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MOST_NUMBERS", 18)
    monkeypatch.setattr(charts, "MOST_STEPS", 3)
    table = epochs_table(
        {"trial": trial, "attempt": 1, "epoch": epoch, "val_accuracy": epoch / 10, "remaining": 1 / epoch}
        for trial in (1, 4, 9)
        for epoch in range(1, 6)
    )
    found = charts.curves(table, [9, 1, 4])
    assert found.keys() == {"9", "1"}
    assert found["9"] == {"epoch": [1, 3, 5], "val_accuracy": [10, 30, 50], "remaining": [100, 33.333, 20]}


def test_layers_are_in_percent_and_absent_where_none_were_recorded(ended_row: Callable[..., Row]) -> None:
    layers = [{"name": "linear1", "remaining": 0.25, "inverted": 0.125}]
    trials = trials_table([ended_row(0, layers=layers), ended_row(1)])
    assert charts.layers(trials, [1, 0]) == {"0": {"name": ["linear1"], "remaining": [25], "inverted": [12.5]}}


def test_epochs_of_some_trials_are_those_of_their_latest_attempt(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    rows = [ended_row(0), ended_row(1), ended_row(1, attempt=2), ended_row(2)]
    write_sweep(tmp_path, rows)
    every = load_epochs(tmp_path, "small").to_pylist()
    some = load_epochs(tmp_path, "small", trials=[1, 2]).to_pylist()
    assert some == [row for row in every if row["trial"] in (1, 2)]
    assert {(row["trial"], row["attempt"]) for row in some} == {(1, 2), (2, 1)}
    assert load_epochs(tmp_path, "small", trials=[]).num_rows == 0


def test_charts_are_plain_json(ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]) -> None:
    trials = trials_table([ended_row(0), ended_row(1, train_loss=math.inf)])
    document = [
        charts.trial_columns(trials, "remaining", "val_accuracy"),
        parameters.parameters(small_space(), trials),
    ]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document[0]["stopped"] == [0, 0]
    assert [one["name"] for one in document[1]] == ["pruning_rate", "learning_rate"]

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
from sweeps.networks import with_trials
from sweeps.objectives import Objectives
from sweeps.report import charts, parameters
from sweeps.results import epochs_table, load_epochs, trials_table
from sweeps.store.paths import SweepPaths
from tests.sweeps.conftest import last_networks, network_table

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
    networks = network_table(rows)
    space = small_space()
    found = charts.front_chart(
        space,
        networks,
        pareto.front(networks, space.objectives),
        networks,
        references=[Reference("published", 0.97, 0.03)],
        beside={"other": networks.slice(1, 1)},
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


def test_the_whole_range_holds_members_that_are_no_trial_s_best(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    networks = network_table([ended_row(0, remaining=0.4), ended_row(0, epochs_done=3, remaining=0.01)])
    members = pareto.front(networks, small_space().objectives)
    found = charts.front_chart(small_space(), networks, members, networks, references=[], beside={}, confirmed=[])
    assert found["front"] == [1]
    assert all(found["all"][0]["low"] < value < found["all"][0]["high"] for value in (1, 40))


def test_hypervolume_keeps_where_it_grew_and_the_end(ended_row: Callable[..., Row]) -> None:
    accuracies = [0.55, 0.4, 0.64, 0.64, 0.3]
    networks = network_table(ended_row(k, val_accuracy=value, remaining=0.1) for k, value in enumerate(accuracies))
    objectives = Objectives({"val_accuracy": "maximize", "remaining": "minimize"})
    found = charts.hypervolume(networks, objectives)
    assert found["networks"] == [1, 3, 5]
    # A third of the decades, times half and 0.6 of the way from guessing, 0.1, to 1.
    assert found["volume"] == pytest.approx([1 / 6, 0.2, 0.2], abs=1e-5)
    assert found["hours"] == pytest.approx([0, 2 / 3600, 4 / 3600], abs=1e-5)
    two = charts.hypervolume(networks, Objectives(objectives.directions, classes=2))
    assert two["volume"][0] == pytest.approx(1 / 30, abs=1e-5)  # guessing has a half already


def test_a_sweep_of_a_version_that_wrote_no_times_of_epochs_has_a_history_without_hours(
    ended_row: Callable[..., Row],
) -> None:
    networks = network_table(ended_row(k, val_accuracy=0.5 + k / 10, remaining=0.1, ended=None) for k in range(2))
    found = charts.hypervolume(networks, Objectives({"val_accuracy": "maximize", "remaining": "minimize"}))
    assert (found["networks"], found["hours"]) == ([1, 2], [None, None])


def test_curves_stop_where_there_is_no_room_and_long_ones_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MOST_NUMBERS", 18)
    monkeypatch.setattr(charts, "MOST_STEPS", 3)
    table = epochs_table(
        {"trial": trial, "attempt": 1, "epoch": epoch, "val_accuracy": epoch / 10, "remaining": 1 / epoch}
        for trial in (1, 4, 9)
        for epoch in range(1, 6)
    )
    found = charts.curves(table, [9, 1, 4])
    assert charts.curves(table, [2]) == {}
    assert found.keys() == {"9", "1"}
    assert found["9"] == {"epoch": [1, 3, 5], "val_accuracy": [10, 30, 50], "remaining": [100, 33.333, 20]}


def test_layers_are_in_percent_and_absent_where_none_were_recorded(ended_row: Callable[..., Row]) -> None:
    layers = [{"name": "linear1", "remaining": 0.25, "inverted": 0.125}]
    drawn = network_table([ended_row(0, epochs_done=2, layers=layers), ended_row(0, epochs_done=3)])
    found = charts.layers(drawn, [(0, 3), (0, 2)])
    assert found == {"0@2": {"name": ["linear1"], "remaining": [25], "inverted": [12.5]}}


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
    rows = [ended_row(0, estimate=0.85), ended_row(1, "stopped", train_loss=math.inf)]
    networks = with_trials(last_networks(rows), trials_table(rows))
    document = [
        charts.trial_columns(networks, "remaining", "val_accuracy"),
        parameters.parameters(small_space(), networks),
    ]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    columns = document[0]
    assert isinstance(columns, dict)
    assert (columns["name"], columns["epoch"], columns["stopped"]) == (["0@2", "1@2"], [2, 2], [0, 1])
    # A mark lies where its estimate has it; its panel says what was measured, too.
    assert (columns["y"], columns["estimate"]) == ([85, 89], ["85.00 ± 1.00", "89.00 ± 1.00"])
    metrics = {metric["name"]: metric["values"] for metric in columns["metrics"]}
    assert (metrics["val_accuracy"], metrics["test_accuracy"]) == ([90, 89], [88, None])
    assert metrics["train_loss"] == [0.3, None]
    assert [one["name"] for one in document[1]] == ["pruning_rate", "learning_rate"]

"""Which published points are shown beside which trials."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from sweeps.display import front
from sweeps.figures import confirmed, drawing, paper
from sweeps.figures.confirmed import draw as draw_confirmed
from sweeps.figures.drawing import Reference
from sweeps.figures.published import kinds_of, references, signed_supermask
from sweeps.results import trials_table
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from tests.sweeps.conftest import last_networks

EndedRow = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("network", "dataset", "width", "points"),
    [
        ("fcn", "mnist", 1.0, [(0.9748, 0.0377), (0.9742, 1.0)]),
        ("fcn", "mnist", 2.0, []),
        ("fcn", "digits", 1.0, []),
        ("conv2", "mnist", 1.0, []),
        ("conv2", "cifar10", 1.0, [(0.6837, 0.0060), (0.6879, 1.0), (0.65, 0.1), (0.70, 0.1)]),
        ("conv4", "cifar10", 1.0, [(0.7740, 0.0291), (0.7450, 1.0), (0.74, 0.1), (0.79, 0.1)]),
        ("conv6", "cifar10", 1.0, [(0.7917, 0.0236), (0.7591, 1.0), (0.77, 0.1), (0.82, 0.1)]),
        ("conv8", "cifar10", 1.0, [(0.8091, 0.0117), (0.7224, 1.0), (0.70, 0.1), (0.85, 0.1)]),
        ("resnet20", "cifar10", 2.0, [(0.8442, 0.0769), (0.868, 1.0)]),
        ("resnet20", "cifar100", 2.0, []),
        ("resnet110", "cifar100", 1.0, [(0.4642, 0.2064), (0.627, 1.0)]),
    ],
)
def test_published_points_are_of_the_same_network_data_and_width(
    network: str, dataset: str, width: float, points: list[tuple[float, float]], ended_row: EndedRow
) -> None:
    trials = trials_table([ended_row(trial, network=network, dataset=dataset, width=width) for trial in range(3)])
    found = references(kinds_of(trials))
    assert [(one.accuracy, one.remaining) for one in found] == points
    assert all("arXiv" in one.label and one.label.endswith(", test") for one in found)
    of_paper = signed_supermask(trials.to_pylist())
    assert [(one.label, one.accuracy, one.remaining) for one in of_paper] == [
        ("arXiv 2201.13361, test", *point) for point in points[:1]
    ]


@pytest.mark.parametrize("changes", [{}, {"width": 2.0}, {"network": "conv2"}, {"dataset": "digits"}])
def test_every_picture_shows_them_only_where_all_trials_are_of_that_kind(
    changes: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_row: EndedRow,
    small_space: Callable[..., SearchSpace],
) -> None:
    counts = list[int]()

    def count(*_: Any, references: list[Reference], **__: Any) -> None:
        counts.append(len(references))

    for module, figure in ((drawing, "front_figure"), (paper, "front_figure"), (confirmed, "confirmed_figure")):
        monkeypatch.setattr(module, figure, count)
    monkeypatch.setattr(drawing, "save", lambda *_: None)
    rows = [ended_row(0, dataset="mnist"), ended_row(1, **({"dataset": "mnist"} | changes))]
    networks, trials, paths = last_networks(rows), trials_table(rows), SweepPaths(tmp_path, "small")
    front.draw(StoredSweep(paths, small_space()), networks, trials)
    front.draw_for_paper(tmp_path / "front.pdf", small_space(), networks, networks, trials=trials)
    draw_confirmed(paths, [row | {"epoch": 2, "seed_index": 0} for row in rows])
    assert counts == [0 if changes else 1] * 3

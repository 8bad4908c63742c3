"""The space files that are shipped, whichever they are."""

import math
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution

from search_spaces.load import load
from search_spaces.space import SearchSpace
from supermask.config import TrainConfig

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(FOLDER.glob("*.yaml"))
PAPER = [
    # pruning_rate, learning_rate, weight_decay: the configurations of arXiv 2201.13361.
    (0.4, 0.05, 5e-4),
    (0.6, 0.008, 3e-4),
    (0.6, 0.01, 3e-4),
]
PAPER_RESNETS = {
    "resnet20_cifar10": [(0.75, 0.3, 3e-4)],
    "resnet56_cifar100": [(0.75, 0.15, 1e-4), (0.8, 0.25, 1e-4)],
    "resnet110_cifar100": [(0.75, 0.1, 1e-4), (0.8, 0.1, 1e-4)],
}


def scaled(value: float, distribution: FloatDistribution) -> float:
    """The place of a value in its range, 0 at the low and 1 at the high end."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def test_the_files_are_these() -> None:
    assert [path.stem for path in FILES] == [
        "conv2_cifar10",
        "conv4_cifar10",
        "conv6_cifar10",
        "conv8_cifar10",
        "fcn_digits",
        "fcn_mnist",
        "resnet110_cifar100",
        "resnet20_cifar10",
        "resnet56_cifar100",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_named_after_its_file_and_is_read_back(path: Path, tmp_path: Path) -> None:
    space = load(path)
    written = tmp_path / "written.yaml"
    written.write_text(space.to_yaml())

    assert load(written) == space
    assert path.stem == space.name == f"{space.fixed['network']}_{space.fixed['dataset']}"
    assert space.objectives == {"val_accuracy": "maximize", "remaining": "minimize"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_draw_is_a_configuration_and_ranges_are_used_to_their_ends(path: Path) -> None:
    space: SearchSpace = load(path)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    places: dict[str, list[float]] = {name: [] for name in space.parameters}
    for _ in range(800):
        values = space.suggest(study.ask())
        config = TrainConfig.from_dict(values).to_dict()
        assert {name: config[name] for name in values} == values
        for name, parameter in space.parameters.items():
            # Another kind of parameter in a shipped file needs its own check here.
            assert isinstance(parameter.distribution, FloatDistribution)
            assert parameter.distribution.step is None
            places[name].append(scaled(values[name], parameter.distribution))

    for found in places.values():
        assert -1e-12 <= min(found) <= 0.01
        assert 0.99 <= max(found) <= 1 + 1e-12


@pytest.mark.parametrize("path", [path for path in FILES if path.stem != "fcn_digits"], ids=lambda path: path.stem)
def test_the_paper_lies_well_inside_the_ranges(path: Path) -> None:
    space = load(path)
    names = ("pruning_rate", "learning_rate", "weight_decay", "weight_gain")
    for configuration in PAPER_RESNETS.get(path.stem, PAPER):
        for name, value in zip(names, (*configuration, math.sqrt(1.5)), strict=True):
            if name == "weight_gain" and path.stem in PAPER_RESNETS:
                continue  # batch norm takes a gain out again
            distribution = space.parameters[name].distribution
            assert isinstance(distribution, FloatDistribution)
            assert 0.05 <= scaled(value, distribution) <= 0.95, name


def test_the_demonstration_is_small() -> None:
    space = load(FOLDER / "fcn_digits.yaml")

    assert (space.trials, space.fixed["epochs"], space.fixed["batch_size"]) == (32, 30, 64)

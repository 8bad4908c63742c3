from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.space import Parameter, SearchSpace
from supermask import data
from supermask.config import ConfigError
from supermask.data import Dataset
from sweeps.driver.options import Options
from sweeps.driver.plan import (
    CPU_LANES,
    CPU_WEIGHTS,
    GPU_LANES,
    STARTING_SECONDS,
    PackPlan,
    Resources,
    choices,
    estimate,
    extend,
    largest_network,
    load_datasets,
    local_resources,
    plan_packs,
)
from sweeps.errors import SweepError

Space = Callable[..., SearchSpace]
TWO_CORES = Resources(cpus=2, gpus=0.0)
NOTHING_YET = Resources(cpus=0, gpus=0.0)
GPU_NODE = Resources(cpus=16, gpus=4.0)


@pytest.fixture(scope="module")
def digits() -> dict[str, Dataset]:
    return {"digits": data.load("digits")}


def options(**changes: Any) -> Options:
    return replace(Options(root=Path("unused")), **changes)


def searched(**parameters: Any) -> dict[str, Parameter]:
    return {name: Parameter(distribution) for name, distribution in parameters.items()}


def test_the_values_a_field_may_take(small_space: Space) -> None:
    space = small_space(
        fixed={"epochs": 7},
        parameters=searched(
            network=CategoricalDistribution(["fcn", "conv2"]),
            width=FloatDistribution(0.5, 2.0),
            batch_size=IntDistribution(16, 128, step=16),
        ),
    )
    assert choices(space, "network") == ("fcn", "conv2")
    assert choices(space, "width") == (0.5, 2.0)
    assert choices(space, "batch_size") == (16, 128)
    assert choices(space, "epochs") == (7,)
    assert choices(space, "momentum") == (0.9,)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"dataset": "digtis"}, "dataset: must be one of .*, but got 'digtis'. Did you mean 'digits'"),
        ({"dataset": "mnist"}, "dataset mnist: its files must lie in .*/nowhere/MNIST/raw, but .* allow the download"),
        ({"dataset": "folder:flowers"}, "dataset folder:flowers: images must lie in .*/nowhere/flowers/train/CLASS/"),
        ({"dataset": "digits", "network": "conv8"}, "network conv8: images must be at least 16x16"),
        ({"dataset": "digits", "batch_size": 4096}, "training part >= batch_size 4096"),
        ({"dataset": "digits", "batch_size": 512, "validation_fraction": 0.8}, "training part >= batch_size 512"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_starts(
    tmp_path: Path, small_space: Space, fixed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_datasets(small_space(fixed=fixed), options(data_root=str(tmp_path / "nowhere")))


def test_every_choice_is_checked_not_only_the_first(small_space: Space) -> None:
    with pytest.raises(ConfigError, match="network conv8"):
        load_datasets(small_space(parameters=searched(network=CategoricalDistribution(["fcn", "conv8"]))), options())
    with pytest.raises(ConfigError, match="batch_size 2048"):
        load_datasets(
            small_space(fixed={"dataset": "digits"}, parameters=searched(batch_size=IntDistribution(16, 2048))),
            options(),
        )


def test_the_datasets_of_a_space_are_loaded_once_each(small_space: Space) -> None:
    assert list(load_datasets(small_space(), options())) == ["digits"]


def test_the_largest_network_counts_every_choice(small_space: Space, digits: dict[str, Dataset]) -> None:
    plain = largest_network(small_space(), digits)
    assert plain.parameters == 64 * 300 + 300 * 100 + 100 * 10
    wide = small_space(parameters=searched(width=FloatDistribution(0.5, 2.0)))
    assert largest_network(wide, digits).parameters == 64 * 600 + 600 * 200 + 200 * 10


@pytest.mark.parametrize(
    ("resources", "changes", "trials", "expected"),
    [
        # (lanes, cpus, gpus, concurrent)
        (TWO_CORES, {"lanes": 5}, 100, (5, 1, 0.0, 2)),
        (TWO_CORES, {"lanes": 5, "cpus_per_pack": 2}, 100, (5, 2, 0.0, 1)),
        (TWO_CORES, {}, 1000, (CPU_LANES, 1, 0.0, 2)),
        (TWO_CORES, {}, 40, (5, 1, 0.0, 2)),  # four rounds of two packs
        (TWO_CORES, {}, 1, (1, 1, 0.0, 2)),
        (GPU_NODE, {"lanes": 5}, 100, (5, 1, 1.0, 4)),
        (GPU_NODE, {"lanes": 5, "gpus_per_pack": 0.25}, 100, (5, 1, 0.25, 16)),
        (GPU_NODE, {"lanes": 5, "gpus_per_pack": 0}, 100, (5, 1, 0, 16)),
        (GPU_NODE, {"lanes": 5, "gpus_per_pack": 0.25, "cpus_per_pack": 8}, 100, (5, 8, 0.25, 2)),
        # A cluster may grow when more is asked for.
        (TWO_CORES, {"lanes": 5, "gpus_per_pack": 1, "address": "auto"}, 100, (5, 1, 1, 1)),
        (TWO_CORES, {"lanes": 5, "cpus_per_pack": 8, "address": "auto"}, 100, (5, 8, 0.0, 1)),
        (NOTHING_YET, {"lanes": 5, "gpus_per_pack": 1, "packs": 8, "address": "auto"}, 100, (5, 1, 1, 8)),
    ],
)
def test_packs_by_hand(
    small_space: Space,
    digits: dict[str, Dataset],
    *,
    resources: Resources,
    changes: dict[str, Any],
    trials: int,
    expected: tuple[int, int, float, int],
) -> None:
    plan = plan_packs(small_space(trials=trials), options(**changes), resources, digits)
    assert (plan.lanes, plan.cpus, plan.gpus, plan.concurrent) == expected


def test_lanes_of_large_networks_are_few(small_space: Space, digits: dict[str, Dataset]) -> None:
    space = small_space(fixed={"dataset": "digits", "width": 4.0}, trials=10_000)
    plan = plan_packs(space, options(), TWO_CORES, digits)
    assert plan.lanes == round(CPU_WEIGHTS / largest_network(space, digits).parameters) == 4
    assert plan.reason == "560,800 weights a lane allow 4 on this CPU; 10000 trials in at least 4 rounds allow 1250"


def test_lanes_on_a_gpu_are_bounded_by_its_memory(small_space: Space, digits: dict[str, Dataset]) -> None:
    space = small_space(trials=1_000_000)
    whole = plan_packs(space, options(), GPU_NODE, digits).lanes
    share = plan_packs(space, options(gpus_per_pack=0.001), GPU_NODE, digits).lanes
    assert 1 <= share < whole <= GPU_LANES
    large = small_space(fixed={"dataset": "digits", "batch_size": 1024}, trials=1_000_000)
    drawn = small_space(fixed={"dataset": "digits", "weight_init": "normal"}, trials=1_000_000)
    for needs_more in (large, drawn):
        assert plan_packs(needs_more, options(gpus_per_pack=0.001), GPU_NODE, digits).lanes < share


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cpus_per_pack": 3},
            "--cpus-per-pack: must be at most 2, all there is here, but got 3. Ask for less.",
        ),
        (
            {"gpus_per_pack": 0.5},
            "--gpus-per-pack: must be at most 0, all there is here, but got 0.5. Ask for less.",
        ),
    ],
)
def test_more_than_there_is_is_refused_and_not_waited_for(
    small_space: Space, digits: dict[str, Dataset], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SweepError) as raised:
        plan_packs(small_space(), options(lanes=1, **changes), TWO_CORES, digits)
    assert raised.value.message == message


def test_this_machines_resources() -> None:
    found = local_resources()
    assert found.cpus >= 1
    assert found.gpus == torch.cuda.device_count()


@pytest.mark.parametrize(
    ("trials", "lanes", "concurrent", "lane_times"),
    [
        (30, 3, 2, 5 * 3),
        (31, 3, 2, 6 * 3),  # the last trial has a pack for itself, and nobody beside it
        (2, 1, 16, 1),  # 14 of 16 cores have nothing to do
        (2, 8, 1, 2),  # a pack of the two trials that there are
    ],
)
def test_an_estimate_counts_rounds_of_packs_and_what_comes_before(
    small_space: Space,
    digits: dict[str, Dataset],
    monkeypatch: pytest.MonkeyPatch,
    *,
    trials: int,
    lanes: int,
    concurrent: int,
    lane_times: int,
) -> None:
    space = small_space(fixed={"dataset": "digits", "width": 0.2, "batch_size": 64, "epochs": 10}, trials=trials)
    epochs = iter([42.0, 2.0])  # the first one compiles for 40 s
    monkeypatch.setattr("sweeps.driver.plan._seconds", lambda _: next(epochs))
    found = estimate(space, PackPlan(lanes, cpus=1, gpus=0.0, concurrent=concurrent, reason=""), digits)
    # 1,437 images less a tenth, in batches of 64: about 20 steps an epoch.
    steps = 0.9 * len(digits["digits"].train_labels) / 64 * 10
    training = found.seconds_per_lane_step * steps * lane_times
    assert found.seconds == pytest.approx(STARTING_SECONDS + 40.0 + training)


def test_an_estimate_trains_a_moment(small_space: Space, digits: dict[str, Dataset]) -> None:
    space = small_space(fixed={"dataset": "digits", "width": 0.2, "batch_size": 64, "epochs": 10})
    found = estimate(space, PackPlan(lanes=3, cpus=1, gpus=0.0, concurrent=2, reason=""), digits)
    assert not found.compiled
    assert found.seconds_per_lane_step > 0
    assert found.pack_bytes > digits["digits"].train_images.nbytes


@pytest.mark.parametrize(("text", "budget"), [(None, 6), ("6", 6), ("60", 60), ("+1", 7), ("+20", 26)])
def test_a_budget_can_grow(small_space: Space, text: str | None, budget: int) -> None:
    assert extend(small_space(), text) == small_space(trials=budget)


@pytest.mark.parametrize("text", ["5", "0", "+0", "-1", "many", "", "+", "1e3", "6.0", "+-2", "9" * 30])
def test_a_budget_cannot_shrink(small_space: Space, text: str) -> None:
    with pytest.raises(SweepError) as raised:
        extend(small_space(), text)
    assert raised.value.message == (
        f"--trials: must be a number of at least 6 or +MORE, but got {text!r}. Write for example +20."
    )

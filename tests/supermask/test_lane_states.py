"""A lane that changes packs on its way is what it would be in one, up to the order of float64 sums."""

from typing import Any

import pytest
import torch
from torch import Tensor

from supermask.config import METHODS, ConfigError, TrainConfig
from supermask.data import Dataset
from supermask.lane_states import TOGETHER, each, join, split
from supermask.pack import Pack

EPOCHS = 4


def configs(method: str, seeds: tuple[int, ...], **more: Any) -> list[TrainConfig]:
    shared: dict[str, Any] = {"dataset": "digits", "method": method, "width": 0.1, "batch_size": 64, "epochs": EPOCHS}
    return [TrainConfig(**(shared | more), seed=seed, learning_rate=0.1 * seed) for seed in seeds]


def trained(pack: Pack, until: int) -> Pack:
    while pack.epoch < until:
        pack.train_epoch()
    return pack


def assert_same(state: dict[str, Any], other: dict[str, Any]) -> None:
    assert state.keys() == other.keys()
    for name, value in state.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-11)
    assert state["plateaus"][0] == pytest.approx(other["plateaus"][0], rel=1e-9)
    assert (state["epoch"], state["lanes"]) == (other["epoch"], other["lanes"])


@pytest.mark.parametrize("schedule", ["exponential", "plateau"])
@pytest.mark.parametrize("method", METHODS)
def test_lanes_of_two_packs_go_on_in_a_third(method: str, schedule: str, digits: Dataset) -> None:
    own: dict[str, Any] = {"schedule": schedule} | ({"plateau_patience": 1} if schedule == "plateau" else {})
    through = trained(Pack(configs(method, (1, 2, 3, 4), **own), digits, dtype=torch.float64), EPOCHS)
    first = split(trained(Pack(configs(method, (1, 2), **own), digits, dtype=torch.float64), 1).state_dict())
    second = trained(Pack(configs(method, (3, 4), **own), digits, dtype=torch.float64), 1)
    second.drop([0])
    third = Pack(configs(method, (4, 1), **own), digits, dtype=torch.float64)
    third.load_state_dict(join([split(second.state_dict())[1], first[0]]))
    assert (third.epoch, third.lanes) == (1, [0, 1])
    found, straight = split(trained(third, EPOCHS).state_dict()), split(through.state_dict())
    assert_same(found[0], straight[3])
    assert_same(found[1], straight[0])


def test_states_that_are_taken_a_few_at_a_time_are_those_of_all(digits: Dataset) -> None:
    pack = trained(Pack(configs("signed", tuple(range(1, TOGETHER + 4))), digits), 1)
    pack.drop([1])
    found, whole = dict(each(pack)), split(pack.state_dict())
    assert list(found) == list(whole) == pack.lanes
    for lane in pack.lanes:
        assert_same(found[lane], whole[lane])


@pytest.mark.parametrize("stem_norm", ["fixed", "trained"])
def test_norms_travel_with_their_lanes(stem_norm: str, patches: Dataset) -> None:
    resnet = {
        "network": "resnet20", "dataset": patches.name, "batch_size": 45, "weight_init": "normal",
        "stem_norm": stem_norm, "width": 0.25,
    }  # fmt: skip
    through = trained(Pack(configs("signed", (1, 2, 3), **resnet), patches, dtype=torch.float64), 3)
    states = split(trained(Pack(configs("signed", (1, 2, 3), **resnet), patches, dtype=torch.float64), 2).state_dict())
    swapped = Pack(configs("signed", (3, 2), **resnet), patches, dtype=torch.float64)
    swapped.load_state_dict(join([states[2], states[1]]))
    found, straight = split(trained(swapped, 3).state_dict()), split(through.state_dict())
    for place, lane in ((0, 2), (1, 1)):
        assert_same(found[place], straight[lane])


def test_a_state_holds_no_memory_of_its_neighbours(digits: Dataset) -> None:
    pack = Pack(configs("signed", (1, 2, 3)), digits)
    state = split(pack.state_dict())[1]
    assert {tensor.untyped_storage().nbytes() for tensor in state.values() if isinstance(tensor, Tensor)} == {
        tensor.nbytes for tensor in state.values() if isinstance(tensor, Tensor)
    }
    before = {name: tensor.clone() for name, tensor in state.items() if isinstance(tensor, Tensor)}
    trained(pack, 1)
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())


def test_lanes_that_have_not_come_equally_far_are_not_joined(digits: Dataset) -> None:
    early, late = (split(trained(Pack(configs("signed", (1,)), digits), epoch).state_dict())[0] for epoch in (1, 2))
    with pytest.raises(ConfigError, match=r"of one epoch and structure, but got epochs \[1, 2\]"):
        join([early, late])
    with pytest.raises(ConfigError, match=r"got epochs \[\]"):
        join([])

"""Shares of sweeps on one cluster: tables by hand, and drivers that share simulated clusters."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.driver.plan import Resources
from sweeps.driver.sharing import SLICE_SECONDS, Demand, judge, shares

CORE = Demand(cpus=1, gpus=0, begun=0, asked=0, most=100)


@pytest.mark.parametrize(
    ("cores", "most", "expected"),
    [
        (2, {"a": 9, "b": 9}, {"a": 1, "b": 1}),
        (1, {"a": 9, "b": 9}, {"a": 0.5, "b": 0.5}),
        (8, {"a": 9, "b": 2}, {"a": 6, "b": 2}),  # what one does not want is the other's
        (9, {"a": 1, "b": 9, "c": 9}, {"a": 1, "b": 4, "c": 4}),
        (8, {"a": 3, "b": 2}, {"a": 3, "b": 2}),
        (8, {"a": 9}, {"a": 8}),
        (0, {"a": 9, "b": 9}, {"a": 0, "b": 0}),
    ],
)
def test_shares_are_equal_but_for_what_a_sweep_does_not_want(
    cores: int, most: dict[str, int], expected: dict[str, float]
) -> None:
    found = shares(Resources(cores, 0), {name: replace(CORE, most=number) for name, number in most.items()})
    assert found == pytest.approx(expected)


def test_the_scarcer_resource_counts() -> None:
    large, small = replace(CORE, cpus=4, gpus=1), replace(CORE, gpus=0.25)
    found = shares(Resources(cpus=64, gpus=4), {"large": large, "small": small})
    assert found == pytest.approx({"large": 2, "small": 8})  # two of four GPUs each


@pytest.mark.parametrize(
    ("cores", "demands", "surplus"),
    [
        (2, {"a": replace(CORE, begun=2), "b": replace(CORE, asked=2)}, {"a": 1, "b": 0}),
        (2, {"a": replace(CORE, begun=2), "b": CORE}, {"a": 0, "b": 0}),  # it does not wait
        (8, {"a": replace(CORE, begun=8), "b": replace(CORE, asked=9)}, {"a": 4, "b": 0}),
        (8, {"a": replace(CORE, begun=8), "b": replace(CORE, asked=1)}, {"a": 1, "b": 0}),
        (8, {"a": replace(CORE, begun=4), "b": replace(CORE, begun=4, asked=1)}, {"a": 0, "b": 0}),
        (9, {"a": replace(CORE, begun=5), "b": replace(CORE, begun=4), "c": replace(CORE, asked=9)}, {"a": 2, "b": 1}),
        # a half each: nobody gives the whole away before a slice of time is over
        (1, {"a": replace(CORE, begun=1), "b": replace(CORE, asked=1)}, {"a": 0, "b": 0}),
        (1, {"a": replace(CORE, begun=1, held_seconds=SLICE_SECONDS), "b": replace(CORE, asked=1)}, {"a": 1, "b": 0}),
        # of two that could give, the one that has held its pack for longer
        (
            2,
            {
                "a": replace(CORE, begun=1, held_seconds=SLICE_SECONDS),
                "b": replace(CORE, begun=1, held_seconds=SLICE_SECONDS + 1),
                "c": replace(CORE, asked=1),
            },
            {"a": 0, "b": 1, "c": 0},
        ),
    ],
)
def test_who_has_more_than_its_share_gives_to_those_that_wait(
    cores: int, demands: dict[str, Demand], surplus: dict[str, int]
) -> None:
    assert {name: judge(Resources(cores, 0), demands, name).surplus for name in surplus} == surplus


def test_a_sweep_holds_back_while_another_waits_for_its_own() -> None:
    demands = {"a": replace(CORE, begun=2), "b": replace(CORE, asked=1)}
    assert judge(Resources(4, 0), demands, "a").contested
    assert not judge(Resources(4, 0), demands, "b").contested


@dataclass
class Simulated:
    """A sweep with endless work on a simulated cluster of equal cores."""

    begun: int = 0
    asked: int = 0
    held_seconds: float = SLICE_SECONDS
    had: list[int] = field(default_factory=list)

    def demand(self) -> Demand:
        return Demand(1, 0, self.begun, self.asked, 1000, self.held_seconds)


@settings(max_examples=40)
@given(cores=st.integers(1, 9), sweeps=st.integers(2, 5))
def test_drivers_that_decide_for_themselves_come_to_equal_shares_and_leave_hardly_a_core_idle(
    cores: int, sweeps: int
) -> None:
    total, those = Resources(cores, 0), {f"sweep{number}": Simulated() for number in range(sweeps)}
    step, turns, idle = 10.0, 3 * sweeps, 0
    steps = int(turns * SLICE_SECONDS / step)
    for _ in range(2 * steps):  # the second half is judged
        seen = {name: one.demand() for name, one in those.items()}
        for name, one in those.items():
            verdict = judge(total, seen, name)
            allowed = verdict.allowed if verdict.contested else cores + 1
            one.begun -= verdict.surplus
            one.asked = max(0, allowed - one.begun)
            one.held_seconds = 0.0 if verdict.surplus else one.held_seconds + step
        waiting = [one for one in those.values() for _ in range(one.asked)]
        waiting.sort(key=lambda one: -one.held_seconds)  # Ray serves who has asked for longest
        for one in waiting[: cores - sum(one.begun for one in those.values())]:
            one.begun, one.asked, one.held_seconds = one.begun + 1, one.asked - 1, 0.0
        for one in those.values():
            one.had.append(one.begun)
        idle += cores - sum(one.begun for one in those.values())
    assert idle <= 0.05 * cores * 2 * steps
    had = [sum(one.had[steps:]) / steps for one in those.values()]
    assert max(had) - min(had) <= 0.5 * cores / sweeps
    assert min(had) > 0

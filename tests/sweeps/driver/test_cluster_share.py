"""What a driver makes of a cluster, with a stand-in for Ray's view of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.driver import cluster_share
from sweeps.driver.cluster_share import ClusterShare
from sweeps.driver.plan import PackPlan
from sweeps.driver.running_pack import RunningPack
from sweeps.driver.sharing import Allotment, MachineShare
from tests.sweeps.books import PLACE

PLAN = PackPlan(lanes=2, cpus=1, gpus=0, concurrent=2, reason="")


@dataclass
class Cluster:
    """What Ray says, and what the other sweep publishes."""

    nodes: list[dict[str, float]] = field(default_factory=lambda: [{"CPU": 1.0}, {"CPU": 1.0}])
    free: float = 0.0
    draining: dict[str, int] = field(default_factory=dict)
    other: Any = None
    published: list[float] = field(default_factory=list)
    now: float = 1000.0

    def actor(self, name: str, namespace: str) -> Any:
        assert (name, namespace) == ("other", "sweeps")
        return SimpleNamespace(demand=SimpleNamespace(remote=lambda: self.other))

    def publish(self, demand: list[float]) -> None:
        self.published = demand


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()

    def resources() -> dict[str, float]:
        return {name: sum(node.get(name, 0.0) for node in made.nodes) for name in ("CPU", "GPU")}

    ray: Any = SimpleNamespace(
        cluster_resources=resources,
        available_resources=lambda: {"CPU": made.free},
        nodes=lambda: [{"Alive": True, "Resources": node} for node in made.nodes],
        get_actor=made.actor,
        wait=lambda asked, timeout: (asked, []),  # noqa: ARG005
        get=lambda answer: answer,
    )
    listed = [{"name": "own", "namespace": "sweeps"}, {"name": "keeper", "namespace": "x"}]
    monkeypatch.setattr(cluster_share, "ray", ray)
    monkeypatch.setattr(
        cluster_share,
        "list_named_actors",
        lambda all_namespaces: listed + ([{"name": "other", "namespace": "sweeps"}] if made.other else []),  # noqa: ARG005
    )
    monkeypatch.setattr(cluster_share, "cluster_state", SimpleNamespace(get_draining_nodes=lambda: made.draining))
    monkeypatch.setattr(cluster_share.time, "monotonic", lambda: made.now)
    return made


def packs(begun: Sequence[float | None], nodes: Sequence[str] = ()) -> dict[int, RunningPack]:
    """Packs by number, each with the time when it began."""
    order: Any = SimpleNamespace(epoch=0, lanes=())
    found = {number: RunningPack(order, {}, begun=at) for number, at in enumerate(begun)}
    for number, node in enumerate(nodes):
        found[number].place = replace(PLACE, node=node)
    for pack in found.values():
        pack.handed_out = pack.handed_out.replace(year=2020)
    return found


@pytest.fixture
def look(cluster: Cluster) -> Callable[[dict[int, RunningPack]], Allotment]:
    states: Any = SimpleNamespace(publish=cluster.publish)
    queue: Any = SimpleNamespace(to_come=10)
    share = ClusterShare(PLAN, states, "own", most=None, queue=queue)

    def look(out: dict[int, RunningPack]) -> Allotment:
        cluster.now += 2
        return share.look(out)

    return look


Look = Callable[[dict[int, RunningPack]], Allotment]


def test_a_sweep_alone_has_the_whole_cluster_and_one_pack_more_that_waits(cluster: Cluster, look: Look) -> None:
    assert look(packs([1.0, 2.0])) == Allotment(3)
    cluster.nodes.append({"CPU": 4.0})
    assert look(packs([1.0, 2.0, 3.0])).room == 7
    assert cluster.published[:5] == [1, 0.0, 3, 0, 13]


def test_packs_on_a_node_that_is_about_to_go_are_preempted(cluster: Cluster, look: Look) -> None:
    cluster.draining = {"b": 0}
    assert look(packs([1.0, 2.0, None], ["a", "b", ""])).preempt == (1,)


def test_a_waiting_sweep_gets_its_half_the_youngest_packs_and_those_that_wait_go(cluster: Cluster, look: Look) -> None:
    cluster.other = [1, 0.0, 0, 2, 50, 500.0]
    found = look(packs([5.0, 9.0, None, None]))
    assert (found.room, set(found.preempt)) == (1, {1, 2, 3})


@pytest.mark.parametrize("published", [[8, 0.0, 0, 2, 50, 500.0], [], ["of another version"]])
def test_a_sweep_whose_packs_fit_no_node_or_that_says_nothing_is_not_waited_for(
    cluster: Cluster, look: Look, published: list[Any]
) -> None:
    cluster.other = published
    assert look(packs([5.0, 9.0])) == Allotment(3)


def test_what_others_do_not_take_for_a_minute_is_taken_again(cluster: Cluster, look: Look) -> None:
    cluster.other = [1, 0.0, 0, 2, 50, 500.0]
    assert look(packs([5.0])).room == 1
    cluster.free = 1.0
    rooms = [look(packs([5.0])).room for _ in range(33)]  # every two seconds
    assert rooms == [1] * 31 + [3] * 2


@pytest.mark.parametrize(
    ("seen", "note"),
    [
        ({}, "waits for the cluster: 0 of 2 cores free, its packs need 1"),
        ({"nodes": []}, "waits for the cluster: 0 of 0 cores free, its packs need 1"),
        (
            {"other": [1, 0.0, 2, 0, 50, 9.0]},
            "waits for the cluster, which 1 more sweep uses: 0 of 2 cores free, its packs need 1",
        ),
        ({"free": 2.0}, "starting 1 worker"),
    ],
)
def test_a_sweep_without_a_pack_in_training_says_what_it_waits_for(
    cluster: Cluster, look: Look, seen: dict[str, Any], note: str
) -> None:
    for name, value in seen.items():
        setattr(cluster, name, value)
    assert look(packs([None])).notes == (note,)
    assert look(packs([None, 3.0])).notes == ()


def test_a_machine_alone_has_as_many_packs_as_planned() -> None:
    assert MachineShare(PLAN).look(packs([None, None])) == Allotment(2, notes=("starting 2 workers",))
    assert MachineShare(PLAN).look(packs([1.0, None])) == Allotment(2)

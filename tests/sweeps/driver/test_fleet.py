"""The driver of packs, with a stand-in for Ray that runs actors in this process."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from supermask import data
from supermask.config import TrainConfig
from sweeps.confirm import Training, Trainings
from sweeps.driver import fleet
from sweeps.driver.plan import PackPlan
from sweeps.driver.queue import LOSSES, TrialQueue
from sweeps.worker.pack_worker import PackWorker

DATASETS = {"digits": data.load("digits")}
Row = dict[str, Any]


class Actor:
    """A worker in this process; a step is made when somebody waits for it."""

    def __init__(self, worker: PackWorker, orders: list[list[int]], dies: Callable[[Row], bool]) -> None:
        self._worker, self._orders, self._dies = worker, orders, dies
        self._order: Row = {}
        self.take = SimpleNamespace(remote=self._take)
        self.step = SimpleNamespace(remote=lambda: self._step)

    def _take(self, order: Row) -> None:
        self._orders.append([lane["trial"] for lane in order["lanes"]])
        self._order = order
        self._worker.take(order)

    def _step(self) -> Row:
        if self._dies(self._order):
            raise RayActorError
        return self._worker.step()


class FakeRay:
    """Ray's functions that the fleet uses. A process dies when `dies` says so of its order."""

    def __init__(self, dies: Callable[[Row], bool]) -> None:
        self._dies = dies
        self.orders: list[list[int]] = []
        self.actors = self.killed = self.puts = 0

    def remote(self, **_: Any) -> Callable[[type[PackWorker]], Any]:
        return lambda worker: SimpleNamespace(remote=lambda arrays, **more: self._actor(worker(arrays, **more)))

    def put(self, value: Any) -> Any:
        self.puts += 1
        return value

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Callable[[], Any]) -> Any:
        return reference()

    def kill(self, _: Any) -> None:
        self.killed += 1

    def _actor(self, worker: PackWorker) -> Actor:
        self.actors += 1
        return Actor(worker, self.orders, self._dies)


def config(seed: int, **changes: Any) -> TrainConfig:
    values: Row = {"dataset": "digits", "width": 0.1, "batch_size": 512, "validation_fraction": 0.2, "epochs": 2}
    return TrainConfig(seed=seed, **(values | changes))


Train = Callable[..., tuple[list[Row], FakeRay]]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Train:
    def run(
        configs: list[TrainConfig],
        *,
        lanes: int = 2,
        concurrent: int = 2,
        gpus: float = 0,
        dies: Callable[[Row], bool] = lambda _: False,
    ) -> tuple[list[Row], FakeRay]:
        fake = FakeRay(dies)
        monkeypatch.setattr(fleet, "ray", fake)
        trainings = [Training(5, index, config) for index, config in enumerate(configs)]
        queue = TrialQueue(Trainings(trainings), trials=len(trainings), lanes=lanes)
        plan = PackPlan(lanes, 1, gpus, concurrent, "as asked")
        rows = [row for _, ended in fleet.train(queue, plan, DATASETS) for row in ended]
        return sorted(rows, key=lambda row: row["trial"]), fake

    return run


def test_all_lanes_finish_in_packs_on_workers_that_are_used_again(train: Train) -> None:
    rows, fake = train([config(seed) for seed in range(7)])
    assert [(row["trial"], row["state"], row["epochs_done"]) for row in rows] == [(n, "finished", 2) for n in range(7)]
    assert all(row["device"] == "cpu" and row["host"] and row["started"] < row["ended"] for row in rows)
    assert all("artifact" not in row for row in rows)
    assert fake.orders == [[0, 1], [2, 3], [4, 5], [6]]
    assert (fake.actors, fake.puts, fake.killed) == (2, 1, 0)


def test_lanes_of_two_structures_share_no_pack(train: Train) -> None:
    rows, fake = train([config(seed, batch_size=512 if seed % 2 else 256) for seed in range(4)])
    assert [row["state"] for row in rows] == ["finished"] * 4
    assert sorted(fake.orders) == [[0, 2], [1, 3]]


def test_a_diverged_lane_is_a_result_and_its_neighbour_finishes(train: Train) -> None:
    rows, fake = train([config(0), config(1, weight_gain=1e25)])
    assert [row["state"] for row in rows] == ["finished", "failed"]
    assert rows[1]["reason"].startswith("diverged: ")
    assert len(fake.orders) == 1


def test_a_pack_whose_process_died_is_trained_again_in_halves_by_another(train: Train) -> None:
    deaths: list[int] = []

    def once(order: Row) -> bool:
        deaths.append(order["pack"])
        return len(deaths) == 1

    rows, fake = train([config(seed) for seed in range(4)], lanes=4, concurrent=1, dies=once)
    assert [row["state"] for row in rows] == ["finished"] * 4
    assert fake.orders == [[0, 1, 2, 3], [0, 1], [2, 3]]
    assert (fake.actors, fake.killed) == (2, 1)
    assert [row["attempt"] for row in rows] == [2] * 4


def test_a_lane_that_kills_its_process_every_time_is_given_up_with_the_reason(train: Train) -> None:
    rows, fake = train(
        [config(seed) for seed in range(2)], dies=lambda order: any(lane["trial"] == 1 for lane in order["lanes"])
    )
    assert [row["state"] for row in rows] == ["finished", "failed"]
    assert rows[1]["reason"] == "the worker process died: RayActorError"
    assert fake.killed == LOSSES
    assert (rows[1]["host"], rows[1]["started"] is not None) == (None, True)


def test_what_breaks_a_pack_without_killing_it_is_the_reason_too(train: Train) -> None:
    rows, fake = train([config(0, dataset="mnist")])
    assert [(row["state"], row["reason"]) for row in rows] == [("failed", "KeyError: 'mnist'")]
    assert (len(fake.orders), fake.killed, fake.actors) == (LOSSES, 0, 1)


def test_a_gpu_that_cannot_be_used_is_the_reason_too(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ((row,), _) = train([config(0)], gpus=0.5)
    assert row["state"] == "failed"
    assert "a pack that was given 0.5 GPU must train there, but PyTorch" in row["reason"]
    assert row["reason"].endswith("or train on the CPU: --gpus-per-pack 0.")

"""A pack as Ray Tune drives it, and the ways to the sweep's actors, without Ray running."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.exceptions import GetTimeoutError, RayError

from supermask.pack import Pack
from sweeps.worker import ray_worker
from sweeps.worker.messages import PackOrder, PackReport
from sweeps.worker.ray_worker import PackTrainable, RemoteCheckpoints, RemoteJudge
from sweeps.worker.services import WorkerSettings
from tests.sweeps.orders import SETTINGS, Row, config, order

Begin = Callable[..., PackTrainable]


@pytest.fixture
def begin(datasets: dict[str, Row]) -> Begin:
    def make(pack: PackOrder, settings: WorkerSettings = SETTINGS) -> PackTrainable:
        worker = PackTrainable.__new__(PackTrainable)  # its own constructor asks Ray for this machine's address
        worker.setup({"order": pack}, datasets=datasets, settings=settings, checkpoints=None, judge=None)
        return worker

    return make


def step(worker: PackTrainable) -> PackReport:
    result = worker.step()
    (report,) = result["report"]
    assert (result["done"], result["pack"]) == (report.done, report.pack)
    return report


def test_a_used_process_trains_the_next_pack(begin: Begin) -> None:
    worker = begin(order([config(0, epochs=1)]))
    reports = [step(worker), step(worker)]
    assert worker.reset_config({"order": order([config(1, epochs=1)], number=1)}) is True
    reports += [step(worker), step(worker)]
    assert [(report.pack, report.done) for report in reports] == [(0, False), (0, True), (1, False), (1, True)]


def test_a_pack_that_hangs_says_so_and_then_ends_its_process(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    end, exits = threading.Event(), list[int]()
    worker = begin(order([config(0)]), replace(SETTINGS, hang_seconds=0.3))
    monkeypatch.setattr(Pack, "train_steps", lambda _: end.wait(30))
    monkeypatch.setattr("os._exit", exits.append)
    step(worker)
    report = step(worker)
    assert report.error is not None
    assert report.error.startswith("hung: no step of training ended for ")
    assert (report.done, report.ended, len(report.epochs)) == (False, (), 0)
    assert exits == []
    with suppress(TimeoutError):  # nobody is left to say anything
        worker.step()
    assert exits == [1]
    end.set()


def test_a_process_that_has_lost_its_gpu_ends(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    exits = list[int]()
    worker = begin(order([config(0)]))
    step(worker)
    monkeypatch.setattr(Pack, "train_epoch", fail)
    for name in ("is_available", "is_initialized"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    monkeypatch.setattr("os._exit", exits.append)
    assert not step(worker).done
    assert exits == []
    worker.step()
    assert exits == [1]


class Actor:
    """An object in this process, called as an actor is. One that is late gives nothing in time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
        self._answers, self.late = answers, False
        self.asked = list[str]()
        monkeypatch.setattr(ray_worker, "ray", SimpleNamespace(get=self._get))

    def __getattr__(self, name: str) -> Any:
        def remote(*_: Any, **__: Any) -> Any:
            self.asked.append(name)
            return self._answers[name]

        return SimpleNamespace(remote=remote)

    def _get(self, answer: Any, timeout: float | None = None) -> Any:
        if self.late and timeout:
            raise GetTimeoutError
        return answer


def test_whoever_waits_for_the_checkpoint_store_waits_no_longer_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Actor(monkeypatch, keep=None, is_preempted=True, reached={1: "far"}, settle=None)
    there: Any = RemoteCheckpoints(actor, 3.0)
    assert there.keep("state", waiting=False, durable=True) is None
    assert there.reached([1]) == {1: "far"}
    actor.late = True
    with pytest.raises(TimeoutError, match=r"^the checkpoint store must take a checkpoint within 3 s, but did not\.$"):
        there.keep("state", waiting=False, durable=True)
    assert there.reached([1]) == {}
    there.settle()


def test_a_pack_does_not_wait_to_hear_whether_it_is_preempted_and_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Actor(monkeypatch, is_preempted=True)
    there: Any = RemoteCheckpoints(actor)
    actor.late = True
    assert [there.is_preempted(4), there.is_preempted(4)] == [False, False]
    assert actor.asked == ["is_preempted"]
    actor.late = False
    assert there.is_preempted(4)


def test_a_judge_that_does_not_answer_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Actor(monkeypatch, judge=[3])
    assert RemoteJudge(actor, 1.0).judge(2, {}) == [3]
    actor.late = True
    with pytest.raises(TimeoutError):
        RemoteJudge(actor, 1.0).judge(2, {})


def test_a_driver_whose_keeper_is_gone_goes_on_without_store(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def __getattr__(self, _: str) -> Any:
            return self

        def remote(self, *_: Any) -> None: ...

    def die(*_: Any, **__: Any) -> None:
        raise RayError

    monkeypatch.setattr(ray_worker.ray, "get", die)
    store = RemoteCheckpoints(Gone())
    assert store.reached([1]) == {}
    store.settle()
    store.forget([1])

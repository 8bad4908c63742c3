"""What a worker reports of packs that break, hang or run out of memory."""

import socket
from dataclasses import replace
from typing import Any

import pytest
import torch

from supermask.artifact import Artifact
from supermask.pack import Pack, Part
from sweeps.worker.pack_worker import PackWorker
from tests.sweeps.orders import EPOCHS, SETTINGS, Row, Start, config, first, gather, order, train


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_a_pack_that_runs_out_of_memory_says_so(
    start: Start, monkeypatch: pytest.MonkeyPatch, error: Exception, *, memory: bool
) -> None:
    def fail(_: Pack) -> None:
        raise error

    monkeypatch.setattr(Pack, "train_epoch", fail)
    (report,) = train(start(order([config(0), config(1)])))
    assert (report.out_of_memory, report.done) == (memory, True)
    assert report.error
    assert report.error.startswith(type(error).__name__)


def test_a_pack_that_breaks_the_hold_of_its_gpu_says_so_and_its_process_can_train_no_more(
    datasets: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    worker = PackWorker(datasets, SETTINGS)
    worker.take(order([config(0), config(1)]))
    monkeypatch.setattr(Pack, "train_epoch", fail)
    for name in ("is_available", "is_initialized"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    report = first(worker)
    assert report.error == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert (report.done, report.out_of_memory, worker.is_broken) == (False, False, True)


def test_what_breaks_a_pack_is_reported_in_one_line(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Pack) -> None:
        raise RuntimeError("out of memory\nTried to allocate 2 GiB")

    monkeypatch.setattr(Pack, "train_epoch", fail)
    (report,) = train(start(order([config(0)])))
    assert report.error == "RuntimeError: out of memory"
    assert report.done
    assert report.ended == ()


def test_a_pack_that_cannot_be_built_is_an_error_too(start: Start) -> None:
    (report,) = train(start(order([config(0), config(1, batch_size=128)])))
    assert report.error
    assert report.error.startswith("ConfigError: pack: batch_size must be equal for all lanes")
    assert (report.done, report.place) == (True, None)


def test_a_pack_whose_gpu_cannot_be_used_says_so(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (report,) = train(start(order([config(0)]), replace(SETTINGS, gpus=1)))
    assert report.error
    assert report.error.startswith(f"RuntimeError: {socket.gethostname()}: a pack that was given 1 GPU must train")
    assert (report.done, report.out_of_memory, report.place) == (True, False, None)


def test_what_ended_before_a_pack_broke_is_reported(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    train_epoch = Pack.train_epoch

    def fail_in_the_second(pack: Pack) -> Any:
        if pack.epoch:
            raise RuntimeError("bang")
        return train_epoch(pack)

    monkeypatch.setattr(Pack, "train_epoch", fail_in_the_second)
    reports = train(start(order([config(0), config(1, weight_gain=1e25)])))
    assert [row["trial"] for row in gather(reports, "ended")] == [11]
    assert reports[-1].error == "RuntimeError: bang"


def test_a_pack_that_breaks_after_an_epoch_has_reported_its_rows(
    datasets: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Pack.evaluate

    def fail_on_the_test_set(pack: Pack, part: Part) -> Any:
        if part == "test":
            raise RuntimeError("bang")
        return evaluate(pack, part)

    worker = PackWorker(datasets, SETTINGS)
    worker.take(order([config(0, epochs=1), config(1, epochs=1, weight_gain=1e25)]))
    monkeypatch.setattr(Pack, "evaluate", fail_on_the_test_set)
    report = first(worker)
    assert (report.error, report.epoch, report.done) == ("RuntimeError: bang", 1, True)
    assert [(lane.trial, lane.epochs_done) for lane in report.ended] == [(11, 1)]
    assert [(row["trial"], row["epoch"]) for row in report.epochs.to_pylist()] == [(10, 1), (11, 1)]


def test_a_lane_that_ended_before_one_beside_it_broke_the_pack_has_all_its_rows(
    datasets: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Artifact.of

    def fail_for_the_second(pack: Pack, lane: int, numbers: Any) -> Artifact:
        if lane and pack.epoch == EPOCHS:
            raise RuntimeError("bang")
        return of(pack, lane, numbers)

    worker = PackWorker(datasets, SETTINGS)
    worker.take(order([config(0), config(1)], rivals=[]))
    monkeypatch.setattr(Artifact, "of", fail_for_the_second)
    reports = train(worker)
    assert reports[-1].error == "RuntimeError: bang"
    assert [(row["trial"], row["state"], row["epochs_done"]) for row in gather(reports, "ended")] == [
        (10, "finished", EPOCHS)
    ]
    assert [row["epoch"] for row in gather(reports, "epochs") if row["trial"] == 10] == [1, EPOCHS]


def test_a_worker_goes_on_after_a_broken_pack(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start(order([config(0), config(1, batch_size=128)]))
    assert train(worker)[0].error
    worker.take(order([config(0)], number=1))
    assert [row["state"] for row in gather(train(worker), "ended")] == ["finished"]

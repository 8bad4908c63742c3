"""Packs that are trained one after the other in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from supermask import data
from supermask.config import TrainConfig
from supermask.pack import Pack
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.in_process import InProcessExecutor
from sweeps.driver.plan import PackPlan
from sweeps.driver.queue import LOSSES, TrialQueue
from sweeps.driver.session import Session
from sweeps.errors import SweepError
from sweeps.signals import OrderlyEnd
from sweeps.store.paths import SweepPaths
from sweeps.worker.messages import Lane
from sweeps.worker.services import WorkerSettings

DATASETS = {"digits": data.load("digits")}
Row = dict[str, Any]


class Records:
    """Keeps what a session records."""

    def __init__(self) -> None:
        self.packs, self.rows = list[list[int]](), list[Row]()
        self.left = list[int]()

    def started(self, rows: Sequence[Row]) -> None:
        assert {row["state"] for row in rows} == {"running"}
        self.packs.append([row["trial"] for row in rows])

    def waiting(self, lanes: Sequence[Lane]) -> None:
        self.left += [lane.trial for lane in lanes]

    def epochs(self, epochs: Any, networks: Any, *, now: bool) -> None:
        assert networks == {}  # nobody wants any

    def ended(self, rows: Sequence[Row]) -> None:
        self.rows += rows

    def writing_failed(self, reason: str) -> None:
        raise AssertionError(reason)


def config(seed: int, **changes: Any) -> TrainConfig:
    values: Row = {"dataset": "digits", "width": 0.1, "batch_size": 512, "validation_fraction": 0.2, "epochs": 2}
    return TrainConfig(seed=seed, **(values | changes))


class Run:
    """A session with a given list of trials."""

    def __init__(self, folder: Path, configs: Sequence[TrainConfig], *, lanes: int = 2, gpus: float = 0) -> None:
        self.executor, self.records, self.said = InProcessExecutor(), Records(), list[str]()
        waiting = [Lane(number, 1, config) for number, config in enumerate(configs)]
        self.queue = TrialQueue(None, waiting, trials=len(waiting), lanes=lanes)
        store = self.executor.start_store(folder / "checkpoints", name="small")
        self.session = Session(SweepPaths(folder, "small"), self.queue, self.records, store)
        self.end = OrderlyEnd(1000.0, self.said.append)
        self.plan, self.settings = PackPlan(lanes, 1, gpus, 1, "as asked"), WorkerSettings(gpus=gpus)
        share = self.executor.share(self.plan, self.queue, most=None)
        self.dispatcher = Dispatcher(self.queue, self.session, share=share, end=self.end)

    def train(self) -> list[Row]:
        self.executor.train(self.dispatcher, self.plan, self.settings, DATASETS)
        return sorted(self.records.rows, key=lambda row: row["trial"])


def test_all_lanes_finish_pack_by_pack(tmp_path: Path) -> None:
    run = Run(tmp_path, [config(seed) for seed in range(5)])
    rows = run.train()
    assert [(row["trial"], row["state"], row["epochs_done"]) for row in rows] == [(n, "finished", 2) for n in range(5)]
    assert all(row["device"] == "cpu" and row["host"] and row["started"] < row["ended"] for row in rows)
    assert run.records.packs == [[0, 1], [2, 3], [4]]


def test_lanes_of_two_structures_share_no_pack(tmp_path: Path) -> None:
    run = Run(tmp_path, [config(seed, batch_size=512 if seed % 2 else 256) for seed in range(4)])
    assert [row["state"] for row in run.train()] == ["finished"] * 4
    assert sorted(run.records.packs) == [[0, 2], [1, 3]]


def test_a_diverged_lane_is_a_result_and_its_neighbour_finishes(tmp_path: Path) -> None:
    rows = Run(tmp_path, [config(0), config(1, weight_gain=1e25)]).train()
    assert [row["state"] for row in rows] == ["finished", "failed"]
    assert rows[1]["reason"].startswith("diverged: ")


def test_a_pack_that_breaks_is_trained_again_in_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_epoch, broken = Pack.train_epoch, list[int]()

    def break_once(pack: Pack) -> Any:
        if not broken:
            broken.append(1)
            raise RuntimeError("bang")
        return train_epoch(pack)

    monkeypatch.setattr(Pack, "train_epoch", break_once)
    run = Run(tmp_path, [config(seed) for seed in range(4)], lanes=4)
    rows = run.train()
    assert [(row["state"], row["attempt"]) for row in rows] == [("finished", 2)] * 4
    assert run.records.packs == [[0, 1, 2, 3], [0, 1], [2, 3]]


def test_a_lane_that_breaks_every_time_is_given_up_with_the_reason(tmp_path: Path) -> None:
    run = Run(tmp_path, [config(0, dataset="mnist"), config(1)])
    assert [(row["state"], row["reason"]) for row in run.train()] == [
        ("failed", "KeyError: 'mnist'"),
        ("finished", None),
    ]
    assert run.session.counts["failed"] == 1
    assert run.records.rows[-1]["attempt"] == LOSSES or run.records.rows[0]["attempt"] == LOSSES


def test_a_gpu_that_cannot_be_used_is_the_reason_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (row,) = Run(tmp_path, [config(0)], gpus=0.5).train()
    assert row["state"] == "failed"
    assert "a pack that was given 0.5 GPU must train there, but PyTorch" in row["reason"]
    assert row["reason"].endswith("or train on the CPU: --gpus-per-pack 0.")


def test_a_signal_ends_it_after_the_epoch_with_checkpoints_that_the_next_run_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.worker.pack_worker.REPORT_SECONDS", 1e-4)  # one epoch a step
    run = Run(tmp_path, [config(0, epochs=6)])
    take, reports = run.dispatcher.take, list[int]()

    def signalled(report: Any) -> None:
        take(report)
        reports.append(report.epoch)
        if report.epoch == 2:
            run.end._ask(15, None)  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(run.dispatcher, "take", signalled)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    run.session.interrupt()
    assert run.records.left == [0]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["0.safetensors"]
    store = InProcessExecutor().start_store(tmp_path / "checkpoints", name="small")
    assert store.reached([0])[0].epoch == max(reports)


def test_a_process_that_has_lost_its_gpu_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supermask.memory.is_lost", lambda: True)
    run = Run(tmp_path, [config(0, dataset="mnist")])
    with pytest.raises(SweepError, match=r"^this process can train no more: KeyError: 'mnist'\. Start another one\.$"):
        run.train()

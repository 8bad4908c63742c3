"""A pack's worker, called as Tune calls it, without Ray running."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from search_spaces.space import Stopping
from supermask import data
from supermask.artifact import Artifact
from supermask.config import TrainConfig
from supermask.pack import Pack
from sweeps.packs.keeper import Keeper
from sweeps.results import trials_table
from sweeps.trial import PackTrainable, PackWorker

EPOCHS = 2
OBJECTIVES = [["val_accuracy", "maximize"], ["remaining", "minimize"]]
UNBEATABLE = [[-1.0, 0.0]]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def datasets() -> dict[str, Row]:
    return {"digits": data.load("digits").to_arrays()}


def config(seed: int, **changes: Any) -> TrainConfig:
    values = {"width": 0.2, "batch_size": 256, "validation_fraction": 0.2, "epochs": EPOCHS, "learning_rate": 0.2}
    return TrainConfig(dataset="digits", seed=seed, **(values | changes))


def order(configs: list[TrainConfig], *, number: int = 0, rivals: list[list[float]] = UNBEATABLE) -> Row:
    lanes: list[Row] = [
        {"trial": 10 + lane, "attempt": 1 + lane, "config": c.to_dict(), "seconds": 0.0, "started": None}
        for lane, c in enumerate(configs)
    ]
    place: Row = {"pack": number, "cpus": 1, "gpus": 0, "slots": len(configs), "epoch": 0}
    return {**place, "lanes": lanes, "objectives": OBJECTIVES, "rivals": rivals}


@pytest.fixture
def start(datasets: dict[str, Row]) -> Callable[[Row], PackTrainable]:
    def begin(pack: Row) -> PackTrainable:
        worker = PackTrainable.__new__(PackTrainable)  # its own constructor asks Ray for this machine's address
        worker.setup(pack, datasets=datasets)
        return worker

    return begin


def train(worker: PackTrainable) -> list[Row]:
    """All reports of a pack."""
    reports = [worker.step()]
    while not reports[-1]["done"]:
        reports.append(worker.step())
    return reports


def gather(reports: list[Row], part: str) -> list[Row]:
    if part == "epochs":
        return [row for report in reports for row in report[part].to_pylist()]
    return [row for report in reports for row in report[part]]


def test_a_pack_reports_every_epoch_and_the_end_of_every_lane(start: Callable[[Row], PackTrainable]) -> None:
    before = datetime.now(UTC)
    reports = train(start(order([config(0), config(1), config(2)], number=4)))
    assert {report["pack"] for report in reports} == {4}
    assert {report["error"] for report in reports} == {None}
    (place,) = gather(reports, "started")
    assert set(place) == {"host", "device", "dtype", "started"}
    assert place["started"] >= before
    epochs = gather(reports, "epochs")
    assert [(row["trial"], row["attempt"], row["epoch"]) for row in epochs] == [
        (10 + lane, 1 + lane, epoch) for epoch in (1, 2) for lane in range(3)
    ]
    assert {tuple(layer["name"] for layer in row["layers"]) for row in epochs} == {("linear1", "linear2", "linear3")}
    ended = gather(reports, "ended")
    assert [(row["trial"], row["attempt"], row["state"]) for row in ended] == [
        (10, 1, "finished"), (11, 2, "finished"), (12, 3, "finished"),
    ]  # fmt: skip
    for row, last in zip(ended, epochs[3:], strict=True):
        # Parquet keeps the numbers of layers in single precision.
        (written,) = trials_table([{name: row[name] for name in last if name != "epoch"}]).to_pylist()
        assert {name: written[name] for name in last if name not in ("epoch", "seconds")} == {
            name: value for name, value in last.items() if name not in ("epoch", "seconds")
        }
        assert (row["epochs_done"], row["reason"]) == (EPOCHS, None)
        assert 0 <= row["test_accuracy"] <= 1
        assert row["ended"] > before
        own = sum(epoch["seconds"] for epoch in epochs if epoch["trial"] == row["trial"])
        assert row["seconds"] > own  # building the pack and the test set take time too


def test_a_lane_has_the_same_result_in_other_company(start: Callable[[Row], PackTrainable]) -> None:
    together = gather(train(start(order([config(0), config(1), config(2)]))), "ended")
    alone = gather(train(start(order([config(2)]))), "ended")
    names = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "test_loss", "test_accuracy")
    for name in names:
        assert alone[0][name] == pytest.approx(together[2][name], rel=1e-6), name


@pytest.mark.parametrize("fault", [{"learning_rate": 1e39}, {"weight_gain": 1e25}])
def test_a_lane_that_diverges_fails_at_once_and_the_others_finish(
    start: Callable[[Row], PackTrainable], fault: dict[str, float]
) -> None:
    reports = train(start(order([config(0), config(1, **fault), config(2)])))
    ended = {row["trial"]: row for row in gather(reports, "ended")}
    assert {trial: row["state"] for trial, row in ended.items()} == {10: "finished", 11: "failed", 12: "finished"}
    assert ended[11]["reason"].startswith("diverged: train_loss is ")
    assert ended[11]["reason"].endswith(f" after epoch {ended[11]['epochs_done']}")
    assert (ended[11]["test_accuracy"], ended[11]["test_loss"]) == (None, None)
    epochs = [row["trial"] for row in gather(reports, "epochs")]
    assert (epochs.count(10), epochs.count(11), epochs.count(12)) == (EPOCHS, ended[11]["epochs_done"], EPOCHS)


def test_a_pack_whose_lanes_all_diverge_is_done(start: Callable[[Row], PackTrainable]) -> None:
    reports = train(start(order([config(0, weight_gain=1e25), config(1, weight_gain=1e25)])))
    assert [row["state"] for row in gather(reports, "ended")] == ["failed", "failed"]
    assert reports[-1]["error"] is None


def test_what_breaks_a_pack_is_reported_in_one_line(
    start: Callable[[Row], PackTrainable], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Pack) -> None:
        raise RuntimeError("out of memory\nTried to allocate 2 GiB")

    monkeypatch.setattr(Pack, "train_epoch", fail)
    (report,) = train(start(order([config(0)])))
    assert report["error"] == "RuntimeError: out of memory"
    assert report["done"]
    assert report["ended"] == []


def test_a_pack_that_cannot_be_built_is_an_error_too(start: Callable[[Row], PackTrainable]) -> None:
    (report,) = train(start(order([config(0), config(1, batch_size=128)])))
    assert report["error"].startswith("ConfigError: pack: batch_size must be equal for all lanes")
    assert (report["done"], report["started"]) == (True, [])


def test_what_ended_before_a_pack_broke_is_reported(
    start: Callable[[Row], PackTrainable], monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch = Pack.train_epoch

    def fail_in_the_second(pack: Pack) -> Any:
        if pack.epoch:
            raise RuntimeError("bang")
        return train_epoch(pack)

    monkeypatch.setattr(Pack, "train_epoch", fail_in_the_second)
    reports = train(start(order([config(0), config(1, weight_gain=1e25)])))
    assert [row["trial"] for row in gather(reports, "ended")] == [11]
    assert reports[-1]["error"] == "RuntimeError: bang"


def test_a_used_worker_trains_the_next_pack(start: Callable[[Row], PackTrainable]) -> None:
    worker = start(order([config(0), config(1)]))
    train(worker)
    assert worker.reset_config(order([config(5)], number=1)) is True
    reports = train(worker)
    assert {report["pack"] for report in reports} == {1}
    assert len(gather(reports, "started")) == 1
    (again,) = gather(reports, "ended")
    (fresh,) = gather(train(start(order([config(5)], number=1))), "ended")
    assert again["val_loss"] == fresh["val_loss"]
    # Its time is its own, not the first pack's as well.
    assert again["seconds"] < sum(row["seconds"] for row in gather(reports, "epochs")) + 5


def test_a_worker_goes_on_after_a_broken_pack(
    start: Callable[[Row], PackTrainable], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start(order([config(0), config(1, batch_size=128)]))
    assert train(worker)[0]["error"]
    worker.reset_config(order([config(0)], number=1))
    assert [row["state"] for row in gather(train(worker), "ended")] == ["finished"]


def test_short_epochs_travel_together_and_long_ones_alone(
    start: Callable[[Row], PackTrainable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.trial.REPORT_SECONDS", 60.0)
    assert [len(report["epochs"]) for report in train(start(order([config(0)])))] == [EPOCHS]
    monkeypatch.setattr("sweeps.trial.REPORT_SECONDS", 1e-4)
    assert [len(report["epochs"]) for report in train(start(order([config(0)])))] == [1] * EPOCHS


@pytest.mark.parametrize(("rivals", "sent"), [([], True), (UNBEATABLE, False), ([[1.0, 1.0]], True)])
def test_masks_are_sent_unless_a_rival_beats_the_trial(
    start: Callable[[Row], PackTrainable], rivals: list[list[float]], sent: bool
) -> None:
    (row,) = gather(train(start(order([config(3)], rivals=rivals))), "ended")
    assert ("artifact" in row) is sent
    if sent:
        artifact = Artifact.from_bytes(row["artifact"], "test")
        assert artifact.config == config(3)
        assert artifact.metrics["test_accuracy"] == row["test_accuracy"]
        entries = sum(mask.numel() for mask in artifact.masks.values())
        shown = sum(int((mask != 0).sum()) for mask in artifact.masks.values())
        assert shown / entries == pytest.approx(row["remaining"])


class Local:
    """An object in this process, called as an actor is."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.kind, name))


class Stops:
    """Stands for the rungs: stops the given trials at each epoch."""

    def __init__(self, stops: dict[int, list[int]]) -> None:
        self._stops = stops
        self.before: dict[tuple[int, int], float | None] = {}

    def judge(self, epoch: int, reached: dict[int, Any]) -> list[int]:
        self.before |= {(trial, epoch): metrics["remaining_before"] for trial, metrics in reached.items()}
        return [trial for trial in reached if trial in self._stops.get(epoch, [])]


@pytest.fixture
def kept(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path)


Begin = Callable[..., PackWorker]


@pytest.fixture
def begin(datasets: dict[str, Row], kept: Keeper, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """A worker with rungs after epochs 1, 2 and 4, which keeps states on disk every so many seconds."""
    monkeypatch.setattr("sweeps.trial.ray.get", lambda value: value)
    monkeypatch.setattr("sweeps.trial.REPORT_SECONDS", 1e-4)  # one epoch a step

    def make(stops: dict[int, list[int]] | Stops, checkpoint_seconds: float | None = None) -> PackWorker:
        return PackWorker(
            datasets,
            Stopping(eta=2, grace_epochs=1),
            Local(stops if isinstance(stops, Stops) else Stops(stops)),
            keeper=Local(kept),
            checkpoint_seconds=checkpoint_seconds,
        )

    return make


def race(worker: PackWorker, orders: list[Row]) -> list[Row]:
    """Trains orders one after the other in one worker."""
    reports = list[Row]()
    for pack in orders:
        worker.take(pack)
        reports.append(worker.step())
        while not reports[-1]["done"]:
            reports.append(worker.step())
    assert {report["error"] for report in reports} == {None}
    return reports


RESULT = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "test_loss", "test_accuracy")


def test_lanes_that_pass_a_rung_go_on_in_another_pack_as_if_nothing_had_been(
    start: Callable[[Row], PackTrainable], begin: Begin, kept: Keeper
) -> None:
    lanes = [config(seed, epochs=4) for seed in range(4)]
    straight = {row["trial"]: row for row in gather(train(start(order(lanes))), "ended")}
    first, second = order(lanes[:2]), order(lanes[2:], number=1)
    for lane in second["lanes"]:
        lane["trial"] += 2
    third: Row = order([lanes[3], lanes[0]], number=2) | {"epoch": 1}
    for lane, trial in zip(third["lanes"], (13, 10), strict=True):
        lane |= {"trial": trial, "seconds": 7.0}
    reports = race(begin({1: [11, 12]}), [first, second, third])
    assert [(row["trial"], row["epoch"]) for row in gather(reports, "paused")] == [(10, 1), (13, 1)]
    assert all(row["seconds"] > 0 for row in gather(reports, "paused"))
    assert kept.reached([10, 13]) == {}
    ended = {row["trial"]: row for row in gather(reports, "ended")}
    assert {trial: (row["state"], row["epochs_done"]) for trial, row in ended.items()} == {
        10: ("finished", 4), 11: ("stopped", 1), 12: ("stopped", 1), 13: ("finished", 4),
    }  # fmt: skip
    for trial in (10, 13):
        for name in RESULT:
            assert ended[trial][name] == straight[trial][name], name
        assert ended[trial]["seconds"] > 7
    epochs = [(row["trial"], row["epoch"]) for row in gather(reports, "epochs")]
    assert len(epochs) == len(set(epochs)) == 4 + 2 * 3


def test_the_rungs_are_told_what_remained_an_epoch_earlier_also_by_a_pack_that_begins_there(
    begin: Begin, kept: Keeper
) -> None:
    stops = Stops({})
    worker = begin(stops, checkpoint_seconds=0)
    worker.take(order([config(0, epochs=5)]))
    rows = [row for _ in range(4) for row in worker.step()["epochs"].to_pylist()]  # killed after the state of epoch 3
    (found,) = kept.reached([10]).values()
    assert found.epoch == 3
    other: Row = order([config(0, epochs=5)], number=1) | {"epoch": 3}
    other["lanes"][0]["started"] = found.started
    again = Stops({})
    race(begin(again, checkpoint_seconds=0), [other])
    remaining = {row["epoch"]: row["remaining"] for row in rows}
    assert (stops.before[10, 1], stops.before[10, 2]) == (None, remaining[1])
    assert again.before == {(10, 4): remaining[3]}


def test_a_pack_that_lost_nobody_at_a_rung_goes_on(begin: Begin, tmp_path: Path) -> None:
    reports = race(begin({}), [order([config(0, epochs=3)])])
    assert gather(reports, "paused") == []
    assert [row["epochs_done"] for row in gather(reports, "ended")] == [3]
    assert not any(report["keeps"] for report in reports)
    assert list(tmp_path.iterdir()) == []  # too short for a checkpoint


@pytest.mark.parametrize("schedule", ["exponential", "plateau"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_trial_cut_off_after_any_epoch_ends_as_one_that_was_not_in_whatever_pack_it_goes_on(
    start: Callable[[Row], PackTrainable], begin: Begin, kept: Keeper, cut: int, schedule: str
) -> None:
    more: Row = {"epochs": 4, "schedule": schedule} | ({"plateau_patience": 1} if schedule == "plateau" else {})
    lanes = [config(seed, **more) for seed in range(3)]
    straight = {row["trial"]: row for row in gather(train(start(order(lanes, rivals=[]))), "ended")}
    worker = begin({}, checkpoint_seconds=0)
    worker.take(order(lanes))
    before = [worker.step() for _ in range(cut + 1)]  # killed when the state of epoch `cut` has just been kept
    assert [report["keeps"] for report in before[:cut]] == [True] * cut
    found = kept.reached([10, 11, 12])
    assert {trial: (one.epoch, one.attempt) for trial, one in found.items()} == {
        10: (cut, 1), 11: (cut, 2), 12: (cut, 3),
    }  # fmt: skip
    written = [row for report in before[:cut] for row in report["epochs"].to_pylist()]
    assert {row["epoch"] for row in written} == set(range(1, cut + 1))  # the driver has all that led to it

    other: Row = order([lanes[2], lanes[0]], number=1, rivals=[]) | {"epoch": cut}
    for lane, trial in zip(other["lanes"], (12, 10), strict=True):
        lane |= {"trial": trial, "attempt": found[trial].attempt, "seconds": found[trial].seconds}
        lane["started"] = found[trial].started
    after = race(begin({}, checkpoint_seconds=0), [other])
    assert [row["epoch"] for row in gather(after, "epochs")] == [epoch for epoch in range(cut + 1, 5) for _ in range(2)]
    for row in gather(after, "ended"):
        expected = straight[row["trial"]]
        assert {name: row[name] for name in RESULT} == {name: expected[name] for name in RESULT}
        assert row["artifact"] == expected["artifact"]
        assert row["attempt"] == found[row["trial"]].attempt
        assert row["seconds"] > found[row["trial"]].seconds
    later = kept.reached([10])[10]
    assert (later.epoch, later.started) == (3, found[10].started)


def test_states_are_kept_only_when_the_driver_has_their_epochs(begin: Begin, kept: Keeper) -> None:
    worker = begin({1: [11]}, checkpoint_seconds=0)
    worker.take(order([config(0, epochs=2), config(1, epochs=2)]))
    first = worker.step()
    assert (first["keeps"], first["paused"], first["done"]) == (True, [], False)
    assert kept.reached([10]) == {}
    second = worker.step()
    assert [row["trial"] for row in second["paused"]] == [10]
    assert (second["epochs"].num_rows, second["done"]) == (0, True)
    assert kept.reached([10])[10].epoch == 1


def test_a_state_that_cannot_be_written_is_reported_and_training_goes_on(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "_write", lambda *_: "no space")
    reports = race(begin({}, checkpoint_seconds=0), [order([config(0, epochs=3)])])
    assert {report["unkept"] for report in reports[1:-1]} == {"no space"}
    assert [row["state"] for row in gather(reports, "ended")] == ["finished"]


def test_a_pack_whose_states_are_gone_says_so(begin: Begin) -> None:
    worker = begin({})
    worker.take(order([config(0)]) | {"epoch": 1})
    report = worker.step()
    assert report["error"] == "LookupError: the trained states of trials [10] after epoch 1 are gone"
    assert report["done"]


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
    start: Callable[[Row], PackTrainable], monkeypatch: pytest.MonkeyPatch, error: Exception, *, memory: bool
) -> None:
    def fail(_: Pack) -> None:
        raise error

    monkeypatch.setattr(Pack, "train_epoch", fail)
    (report,) = train(start(order([config(0), config(1)])))
    assert (report["out_of_memory"], report["done"]) == (memory, True)
    assert report["error"].startswith(type(error).__name__)


def test_a_pack_that_breaks_the_hold_of_its_gpu_says_so_and_then_ends_its_process(
    datasets: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    exits = list[int]()
    worker = PackWorker(datasets)
    worker.take(order([config(0), config(1)]))
    monkeypatch.setattr(Pack, "train_epoch", fail)
    for name in ("is_available", "is_initialized"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    monkeypatch.setattr("os._exit", exits.append)
    report = worker.step()
    assert report["error"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert (report["done"], report["out_of_memory"], exits) == (False, False, [])
    worker.step()
    assert exits == [1]


def test_a_pack_that_hangs_says_so_and_then_ends_its_process(
    datasets: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    end, exits = threading.Event(), list[int]()
    worker = PackWorker(datasets, hang_seconds=0.3)
    worker.take(order([config(0)]))
    monkeypatch.setattr(Pack, "train_steps", lambda _: end.wait(30))
    monkeypatch.setattr("os._exit", exits.append)
    report = worker.step()
    assert report["error"].startswith("hung: no step of training ended for ")
    assert (report["done"], report["ended"], len(report["epochs"])) == (False, [], 0)
    assert exits == []
    with suppress(TimeoutError):  # nobody is left to say anything
        worker.step()
    assert exits == [1]
    end.set()

"""A pack's worker, called as an executor calls it."""

from datetime import UTC, datetime

import pytest

from supermask.artifact import Artifact
from sweeps.objectives import Claim
from sweeps.results import trials_table
from tests.sweeps.orders import EPOCHS, UNBEATABLE, Start, artifacts, config, gather, order, train


def test_a_pack_reports_every_epoch_and_the_end_of_every_lane(start: Start) -> None:
    before = datetime.now(UTC)
    reports = train(start(order([config(0), config(1), config(2)], number=4)))
    assert {report.pack for report in reports} == {4}
    assert {report.error for report in reports} == {None}
    (place,) = gather(reports, "place")
    assert set(place) == {"is_fresh", "node", "host", "device", "dtype", "started", "classes"}
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
        own = ("epoch", "seconds", "ended")
        assert {name: written[name] for name in last if name not in own} == {
            name: value for name, value in last.items() if name not in own
        }
        assert (row["epochs_done"], row["reason"]) == (EPOCHS, None)
        assert 0 <= row["test_accuracy"] <= 1
        assert row["ended"] > before
        own = sum(epoch["seconds"] for epoch in epochs if epoch["trial"] == row["trial"])
        assert row["seconds"] > own  # building the pack and the test set take time too


def test_a_lane_has_the_same_result_in_other_company(start: Start) -> None:
    together = gather(train(start(order([config(0), config(1), config(2)]))), "ended")
    alone = gather(train(start(order([config(2)]))), "ended")
    names = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "test_loss", "test_accuracy")
    for name in names:
        assert alone[0][name] == pytest.approx(together[2][name], rel=1e-6), name


@pytest.mark.parametrize("fault", [{"learning_rate": 1e39}, {"weight_gain": 1e25}])
def test_a_lane_that_diverges_fails_at_once_and_the_others_finish(start: Start, fault: dict[str, float]) -> None:
    reports = train(start(order([config(0), config(1, **fault), config(2)])))
    ended = {row["trial"]: row for row in gather(reports, "ended")}
    assert {trial: row["state"] for trial, row in ended.items()} == {10: "finished", 11: "failed", 12: "finished"}
    assert ended[11]["reason"].startswith("diverged: train_loss is ")
    assert ended[11]["reason"].endswith(f" after epoch {ended[11]['epochs_done']}")
    assert (ended[11]["test_accuracy"], ended[11]["test_loss"]) == (None, None)
    epochs = [row["trial"] for row in gather(reports, "epochs")]
    assert (epochs.count(10), epochs.count(11), epochs.count(12)) == (EPOCHS, ended[11]["epochs_done"], EPOCHS)


def test_a_pack_whose_lanes_all_diverge_is_done(start: Start) -> None:
    reports = train(start(order([config(0, weight_gain=1e25), config(1, weight_gain=1e25)])))
    assert [row["state"] for row in gather(reports, "ended")] == ["failed", "failed"]
    assert reports[-1].error is None


def test_a_used_worker_trains_the_next_pack(start: Start) -> None:
    worker = start(order([config(0), config(1)]))
    train(worker)
    worker.take(order([config(5)], number=1))
    reports = train(worker)
    assert {report.pack for report in reports} == {1}
    assert len(gather(reports, "place")) == 1
    (again,) = gather(reports, "ended")
    (fresh,) = gather(train(start(order([config(5)], number=1))), "ended")
    assert again["val_loss"] == fresh["val_loss"]
    # Its time is its own, not the first pack's as well.
    assert again["seconds"] < sum(row["seconds"] for row in gather(reports, "epochs")) + 5


def test_short_epochs_travel_together_and_long_ones_alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.worker.pack_worker.REPORT_SECONDS", 60.0)
    assert [len(report.epochs) for report in train(start(order([config(0)])))] == [EPOCHS]
    monkeypatch.setattr("sweeps.worker.pack_worker.REPORT_SECONDS", 1e-4)
    assert [len(report.epochs) for report in train(start(order([config(0)])))] == [1] * EPOCHS


@pytest.mark.parametrize(("rivals", "sent"), [([], True), (UNBEATABLE, False), ([(1.0, 1.0, 0, 1)], True)])
def test_a_network_is_sent_unless_a_rival_beats_it(start: Start, rivals: list[Claim], sent: bool) -> None:
    reports = train(start(order([config(3)], rivals=rivals)))
    (row,) = gather(reports, "ended")
    found = artifacts(reports)
    assert ((10, EPOCHS) in found) is sent
    if sent:
        artifact = Artifact.from_bytes(found[10, EPOCHS], "test")
        assert artifact.config == config(3)
        assert artifact.metrics["test_accuracy"] == row["test_accuracy"]
        entries = sum(mask.numel() for mask in artifact.masks.values())
        shown = sum(int((mask != 0).sum()) for mask in artifact.masks.values())
        assert shown / entries == pytest.approx(row["remaining"])

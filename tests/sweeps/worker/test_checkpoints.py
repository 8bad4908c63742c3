"""Checkpoints on disk, and the process that keeps them, without Ray."""

import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supermask.config import ConfigError, TrainConfig
from sweeps.search.study import AskedTrial
from sweeps.worker import checkpoints
from sweeps.worker.checkpoint_store import CheckpointStore
from sweeps.worker.checkpoints import Checkpoint, Reached, fingerprint

BEGAN = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


def config(trial: int) -> TrainConfig:
    return TrainConfig(dataset="digits", seed=trial)


def checkpoint(trial: int, epoch: int = 4, attempt: int = 1) -> Checkpoint:
    own = fingerprint(config(trial).to_dict())
    reached = Reached(trial=trial, attempt=attempt, epoch=epoch, seconds=1.1 * epoch, started=BEGAN, config=own)
    scores = np.random.default_rng(trial).normal(size=(1, 30, 20)).astype(np.float32)
    arrays = {"linear1.scores": scores, "linear1.threshold": np.full(1, float(epoch))}
    return Checkpoint(reached, [[float("inf"), 0, 1]], arrays)


def same(found: Checkpoint | None, wanted: Checkpoint) -> bool:
    return (
        found is not None
        and (found.reached, found.plateaus) == (wanted.reached, wanted.plateaus)
        and found.arrays.keys() == wanted.arrays.keys()
        and all(array.tobytes() == wanted.arrays[name].tobytes() for name, array in found.arrays.items())
    )


def keep(folder: Path, *kept: Checkpoint) -> None:
    for one in kept:
        assert CheckpointStore(folder).keep(one, waiting=False, durable=True) is None


def test_a_checkpoint_comes_back_from_its_file_to_the_last_bit(tmp_path: Path) -> None:
    keep(tmp_path / "checkpoints", checkpoint(3))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["3.safetensors"]
    assert same(checkpoints.read(tmp_path / "checkpoints", 3), checkpoint(3))
    assert checkpoints.read(tmp_path, 3) is None


@pytest.mark.parametrize("place", range(0, 3100, 127))
def test_whatever_byte_is_damaged_its_file_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    keep(tmp_path, checkpoint(3))
    path = tmp_path / "3.safetensors"
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 0x20
    path.write_bytes(data)
    assert checkpoints.read(tmp_path, 3) is None
    assert [path.name for path in tmp_path.iterdir()] == ["3.safetensors.damaged"]
    (message,) = caplog.messages
    assert message.startswith("trial 3: its checkpoint is set aside as 3.safetensors.damaged: artifact ")


def test_a_file_of_something_else_is_no_checkpoint() -> None:
    from supermask.sealed import seal

    with pytest.raises(ConfigError, match="checkpoint x: must be of a trial, but got"):
        Checkpoint.from_bytes(seal('{"config": {}}', {}), "x")


def test_a_file_that_was_cut_off_is_set_aside(tmp_path: Path) -> None:
    keep(tmp_path, checkpoint(3))
    path = tmp_path / "3.safetensors"
    for size in (0, 7, 100, path.stat().st_size - 1):
        keep(tmp_path, checkpoint(3))
        path.write_bytes(path.read_bytes()[:size])
        assert checkpoints.read(tmp_path, 3) is None


def test_only_states_of_open_trials_and_their_last_attempt_are_found(tmp_path: Path) -> None:
    keep(tmp_path, *(checkpoint(trial) for trial in range(5)), checkpoint(5, attempt=2))
    wrong = checkpoint(6)
    keep(tmp_path, Checkpoint(checkpoint(7).reached, wrong.plateaus, wrong.arrays))
    (tmp_path / ".tmp-8.safetensors-123").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    trials = [AskedTrial(trial, config(trial), attempts=1) for trial in (1, 3, 5, 9)]
    trials.append(AskedTrial(7, config(8), attempts=1))  # of another configuration
    assert checkpoints.take_stock(tmp_path, trials) == {trial: checkpoint(trial).reached for trial in (1, 3)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.safetensors", "3.safetensors", "notes.txt"]
    assert checkpoints.take_stock(tmp_path / "nowhere", trials) == {}


def test_a_state_that_is_ahead_of_parquet_is_not_gone_on_from(caplog: pytest.LogCaptureFixture) -> None:
    found = {trial: checkpoint(trial).reached for trial in (1, 2, 3)}
    rows = [{"trial": 1, "attempt": 1, "epoch": epoch} for epoch in (1, 2, 3, 4, 5, 5)]
    rows += [{"trial": 2, "attempt": 1, "epoch": epoch} for epoch in (1, 2, 4, 5)]
    rows += [{"trial": 3, "attempt": 2, "epoch": epoch} for epoch in (1, 2, 3, 4)]
    assert checkpoints.recorded(found, rows) == {1: found[1]}
    assert sorted(caplog.messages) == [
        f"trial {trial}: starts again: its state is of epoch 4, but only {count} of these epochs are in Parquet"
        for trial, count in ((2, 3), (3, 0))
    ]


def test_states_that_wait_are_given_away_once_and_a_lost_one_is_named(tmp_path: Path) -> None:
    kept = CheckpointStore(tmp_path)
    for trial in (3, 4, 5):
        kept.keep(checkpoint(trial), waiting=True, durable=False)
    assert list(tmp_path.iterdir()) == []
    first, second = kept.take([5, 3], 4)
    assert same(first, checkpoint(5))
    assert same(second, checkpoint(3))
    with pytest.raises(LookupError, match=r"the trained states of trials \[3\] after epoch 4 are gone"):
        kept.take([4, 3], 4)
    with pytest.raises(LookupError, match=r"the trained states of trials \[4\] after epoch 5 are gone"):
        kept.take([4], 5)
    assert same(kept.take([4], 4)[0], checkpoint(4))


def test_a_state_on_disk_can_be_taken_again_and_the_one_in_memory_counts_first(tmp_path: Path) -> None:
    kept = CheckpointStore(tmp_path)
    kept.keep(checkpoint(3, epoch=2), waiting=False, durable=True)
    kept.keep(checkpoint(3, epoch=6), waiting=True, durable=False)
    assert kept.reached([3, 4]) == {3: checkpoint(3, epoch=6).reached}
    kept.take([3], 6)
    assert kept.reached([3, 4]) == {3: checkpoint(3, epoch=2).reached}
    kept.take([3], 2)
    assert same(kept.take([3], 2)[0], checkpoint(3, epoch=2))
    kept.keep(checkpoint(3, epoch=6), waiting=True, durable=False)
    kept.keep(checkpoint(3, epoch=8), waiting=False, durable=True)  # what waited is old now
    assert kept.reached([3])[3].epoch == 8


def test_what_waits_is_a_copy_that_its_sender_cannot_change(tmp_path: Path) -> None:
    kept, sent = CheckpointStore(tmp_path), checkpoint(3)
    kept.keep(sent, waiting=True, durable=False)
    sent.arrays["linear1.scores"][:] = 0
    assert same(kept.take([3], 4)[0], checkpoint(3))


def test_at_the_end_all_is_on_disk_and_of_ended_trials_nothing_is_left(tmp_path: Path) -> None:
    kept = CheckpointStore(tmp_path)
    for trial in (3, 4):
        kept.keep(checkpoint(trial), waiting=True, durable=False)
    kept.settle()
    assert CheckpointStore(tmp_path).reached([3, 4]).keys() == {3, 4}
    kept.forget([3, 9])
    assert kept.reached([3, 4]).keys() == {4}
    assert [path.name for path in tmp_path.iterdir()] == ["4.safetensors"]


def test_a_full_disk_leaves_the_last_checkpoint_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = CheckpointStore(tmp_path)
    kept.keep(checkpoint(3, epoch=2), waiting=False, durable=True)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert kept.keep(checkpoint(3, epoch=6), waiting=True, durable=True) == (
        f"{tmp_path}/3.safetensors: must be written, but got: [Errno 28] No space left on device. Free some space."
    )
    assert kept.reached([3])[3].epoch == 6  # in memory
    assert CheckpointStore(tmp_path).reached([3])[3].epoch == 2
    assert [path.name for path in tmp_path.iterdir()] == ["3.safetensors"]


def test_a_state_at_the_end_of_a_session_goes_to_disk_at_once_and_is_not_kept_in_memory(tmp_path: Path) -> None:
    kept = CheckpointStore(tmp_path)
    kept.preempt([4], ending=True)
    assert [kept.is_preempted(pack) for pack in (4, 5)] == [True, False]
    kept.keep(checkpoint(3), waiting=True, durable=False)
    assert CheckpointStore(tmp_path).reached([3]).keys() == {3}
    (tmp_path / "3.safetensors").unlink()
    kept.settle()
    assert CheckpointStore(tmp_path).reached([3]) == {}

"""What checkpoints cost: packs that keep their states on disk as a sweep does, against the same packs that keep none.

Both sides train the same epochs in this process, one right after the other, in changing order. The states go through
the code of a sweep's worker and store to a file each; only Ray's transport is left out, about a copy in memory. A
checkpoint is made whenever it is worth its time, also before the first half minute, which a sweep lets pass: so this is
the most that they cost. The time of training itself scatters by more than a checkpoint takes, so the time for which
training stands still is measured, too.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from benchmarks.workload import first
from supermask.config import TrainConfig
from supermask.data import load
from supermask.pack import Pack
from sweeps.worker import cadence, pack_worker
from sweeps.worker.checkpoint_store import CheckpointStore
from sweeps.worker.checkpoints import Checkpoint
from sweeps.worker.messages import Lane, PackOrder
from sweeps.worker.services import WorkerSettings

WITH, WITHOUT = "with checkpoints", "without"
err = Console(stderr=True, highlight=False)


class Counting(CheckpointStore):
    """A store in this process that counts the checkpoints and their bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._place, self.count, self.bytes = folder, 0, 0

    def keep(self, checkpoint: Checkpoint, *, waiting: bool, durable: bool) -> str | None:
        """Takes a checkpoint."""
        fault = super().keep(checkpoint, waiting=waiting, durable=durable)
        self.count += 1
        self.bytes = (self._place / f"{checkpoint.reached.trial}.safetensors").stat().st_size
        return fault


class Watched(pack_worker.PackWorker):
    """A worker that counts the seconds for which it does not train, but sends states to the store."""

    standing = 0.0

    def _keep(self, pack: Pack, draft: Any) -> None:
        started = time.perf_counter()
        super()._keep(pack, draft)
        self.standing += time.perf_counter() - started


def train(configs: list[TrainConfig], arrays: Row, store: Counting | None) -> tuple[float, float]:
    """Seconds of a pack after the reports that build and compile it; and those that it stood still."""
    worker = Watched(arrays, WorkerSettings(), store)
    lanes = tuple(Lane(number, 1, config) for number, config in enumerate(configs))
    worker.take(PackOrder(0, lanes, len(lanes)))
    worker.step()
    report, started = worker.step(), time.perf_counter()
    while not report.done:
        report = worker.step()
    if report.error:
        raise RuntimeError(report.error)
    return time.perf_counter() - started, worker.standing


def main(
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits instead of MNIST, a few seconds, once.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
) -> None:
    """Prints how much longer packs train that keep their states on disk."""
    images = load("digits") if quick else first(load("mnist", data), 6_000)
    lanes, epochs, repetitions = (2, 12, 1) if quick else (8, 20, 5)
    configs = [TrainConfig(dataset=images.name, epochs=epochs, seed=seed) for seed in range(lanes)]
    arrays = {images.name: images.to_arrays()}
    seconds: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    counts, shares = list[int](), list[float]()
    size = 0
    with mock.patch.object(cadence, "LEAST_SECONDS", 0.0):
        for repetition in range(repetitions):
            for side in sorted(seconds, reverse=bool(repetition % 2)):
                folder = Path(tempfile.mkdtemp(prefix="checkpoints-", dir=json_file and json_file.parent))
                store = Counting(folder) if side == WITH else None
                took, standing = train(configs, arrays, store)
                seconds[side].append(took)
                if store:
                    shares.append(100 * standing / took)
                    counts.append(store.count // lanes)
                    size = store.bytes or size
                shutil.rmtree(folder)
                err.print(f"{side}: {seconds[side][-1]:.2f} s")
    case = f"seconds of a pack of {lanes} lanes, {epochs} epochs: {WITH} against {WITHOUT}"
    extra = {"unit": "s", "checkpoints": min(counts), "bytes_per_lane": size}
    rows = [
        record.compare(case, seconds[WITH], peer=seconds[WITHOUT], lower_is_better=True, **extra),
        record.alone("share of the time for which the pack stands still", shares, **extra | {"unit": "%"}),
    ]
    if json_file:
        record.write(json_file, rows)
    Console().print(record.table(rows, checkpoints=lambda row: str(row["checkpoints"])))


if __name__ == "__main__":
    script.start(main)

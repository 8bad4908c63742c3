"""The table of arXiv 2201.13361, row by row: mean and 95 % interval over fresh seeds, beside the published figure.

    python benchmarks/paper_table.py --rows fcn --seeds 10 --json benchmarks/results/paper_table.json

A row is one network trained by one method; its seeds are the lanes of packs. Finished seeds are kept in --store, and
a pack in training leaves a checkpoint there once a minute: started again, the script goes on. Accuracies are those of
the test set after the last epoch; nothing was chosen by them.
"""

import json as jsonlib
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.paper_rows import ROWS, PaperRow
from benchmarks.workload import find_images
from supermask import data
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.metrics import EpochMetrics
from supermask.pack import Pack
from supermask.program import compile_pays
from sweeps.analysis.intervals import Interval, student_t
from sweeps.driver.seeds import fresh_seeds
from sweeps.store.paths import replacing

CHECKPOINT_SECONDS = 60.0
QUICK_IMAGES, QUICK_EPOCHS = 600, 2
METRICS = ("test_accuracy", "val_accuracy", "remaining", "inverted")

Result = dict[str, Any]
err = Console(stderr=True, highlight=False)


class Store:
    """What a row has reached so far: one JSON file per row, and checkpoints of packs in training."""

    def __init__(self, folder: Path, row: PaperRow, trial: TrainConfig) -> None:
        """Reads what there is; results of another configuration do not count."""
        name = row.key.replace(":", "-")
        self._file, self._checkpoint = folder / f"{name}.json", folder / f"{name}.pt"
        self._config = asdict(replace(trial, seed=0))
        self.results: dict[int, Result] = {}
        if self._file.exists():
            document = jsonlib.loads(self._file.read_text(encoding="utf-8"))
            if document["config"] == self._config:
                self.results = {result["seed"]: result for result in document["results"]}

    def add(self, results: Iterable[Result]) -> None:
        """Keeps the results of finished seeds."""
        self.results |= {result["seed"]: result for result in results}
        document = {"config": self._config, "results": list(self.results.values())}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._file) as temporary:
            temporary.write_text(jsonlib.dumps(document, indent=1) + "\n", encoding="utf-8")
        self._checkpoint.unlink(missing_ok=True)

    def save(self, pack: Pack) -> None:
        """Leaves a checkpoint."""
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._checkpoint) as temporary:
            torch.save({"seeds": _seeds(pack), "config": self._config, "state": pack.state_dict()}, temporary)

    def restore(self, pack: Pack) -> None:
        """Goes on from the checkpoint, if it is of this pack."""
        if self._checkpoint.exists():
            saved = torch.load(self._checkpoint, map_location=pack.device, weights_only=True)
            if saved["seeds"] == _seeds(pack) and saved["config"] == self._config:
                pack.load_state_dict(saved["state"])


def _seeds(pack: Pack) -> list[int]:
    return [config.seed for config in pack.configs]


def train(row: PaperRow, trials: Sequence[TrainConfig], store: Store, *, images: Dataset, device: torch.device) -> None:
    """Trains the seeds of a row that are not in the store, as one pack."""
    pack = Pack(trials, images, device=device, compiled=compile_pays(trials[0], images, device))
    store.restore(pack)
    saved = time.monotonic()
    metrics: dict[int, EpochMetrics] = {}
    while pack.lanes:
        metrics |= {found.lane: found for found in pack.train_epoch()}
        if complete := pack.complete():
            tests = {test.lane: test for test in pack.evaluate("test") if test.lane in complete}
            store.add(_result(trials[lane], metrics[lane], tests[lane].accuracy, pack) for lane in complete)
            pack.drop(complete)
        elif time.monotonic() - saved > CHECKPOINT_SECONDS:
            store.save(pack)
            saved = time.monotonic()
        last = list(metrics.values())
        accuracy, remaining = (
            sum(getattr(m, name) for m in last) / len(last) for name in ("val_accuracy", "remaining")
        )
        epoch = f"epoch {pack.epoch}/{trials[0].epochs}"
        err.print(f"{row.key}: {epoch}, validation {100 * accuracy:.2f} %, remaining {100 * remaining:.2f} %")


def _result(trial: TrainConfig, found: EpochMetrics, test_accuracy: float, pack: Pack) -> Result:
    measured = {name: getattr(found, name) for name in METRICS[1:]}
    dtype = str(pack.dtype).removeprefix("torch.")
    return {"seed": trial.seed, "test_accuracy": test_accuracy, **measured, "epochs": found.epoch, "dtype": dtype,
            "fault": found.fault}  # fmt: skip


def summary(row: PaperRow, trial: TrainConfig, results: Sequence[Result]) -> record.Row:
    """One row of the document. `low` and `high` are the 95 % Student t interval of the ratio."""
    sound = [result for result in results if not result["fault"]]
    found = {name: student_t([result[name] for result in sound]) for name in METRICS}
    accuracy = found["test_accuracy"]
    ratio = Interval(
        *(None if v is None or row.accuracy is None else v / row.accuracy for v in vars(accuracy).values())
    )
    return {
        "case": f"{row.key}, {row.dataset}",
        "ours": accuracy.mean,
        "peer": row.accuracy,
        "ratio": ratio.mean,
        "n": len(sound),
        "low": ratio.low,
        "high": ratio.high,
        "diverged": len(results) - len(sound),
        **{name: vars(interval) for name, interval in found.items()},
        "peer_remaining": row.remaining,
        "config": asdict(replace(trial, seed=0)),
        "found": row.found,
    }


def _table(rows: Sequence[record.Row]) -> Table:
    table = Table("network:method, data", "n", "test accuracy %", "remaining %", "published %")
    for row in rows:
        peer = "-" if row["peer"] is None else f"{100 * row['peer']:.2f}"
        at = "" if row["peer_remaining"] is None else f" at {100 * row['peer_remaining']:.2f}"
        ours = (_text(row[name]) for name in ("test_accuracy", "remaining"))
        table.add_row(row["case"], str(row["n"]), *ours, peer + at)
    return table


def _text(found: dict[str, float | None]) -> str:
    mean, std, low, high = (None if value is None else 100 * value for value in found.values())
    if mean is None or std is None:
        return "-" if mean is None else f"{mean:.2f}"
    return f"{mean:.2f} ± {std:.2f} [{low:.2f}, {high:.2f}]"


def _few(images: Dataset) -> Dataset:
    """Images out of all parts of the dataset, which may be sorted by class."""
    counts = {"train": QUICK_IMAGES, "test": QUICK_IMAGES // 3}
    cut: dict[str, torch.Tensor] = {}
    for part, count in counts.items():
        stride = max(1, len(getattr(images, f"{part}_labels")) // count)
        cut |= {f"{part}_{kind}": getattr(images, f"{part}_{kind}")[::stride] for kind in ("images", "labels")}
    return replace(images, **cut)


def choose(text: str) -> list[PaperRow]:
    """The rows that `fcn`, `conv4:signed` or `all`, with commas, stand for, in the table's order."""
    names = text.split(",")
    keys = {row.key for row in ROWS} | {row.key.split(":")[0] for row in ROWS} | {"all"}
    if unknown := [name for name in names if name not in keys]:
        raise typer.BadParameter(f"must be out of {', '.join(sorted(keys))}, but got {unknown[0]!r}.")
    return [row for row in ROWS if "all" in names or {row.key, row.key.split(":")[0]} & set(names)]


def main(
    *,
    rows: Annotated[str, typer.Option(help="Which, with commas: NETWORK, NETWORK:METHOD or all.")] = "fcn",
    seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds of each row.")] = 10,
    lanes: Annotated[int, typer.Option(min=1, help="Most seeds of a pack.")] = 10,
    store: Annotated[Path | None, typer.Option(help="Where finished seeds are kept.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the document of the run to this file.")] = None,
    data_root: Annotated[
        str | None, typer.Option("--data", help="Folder of datasets. Default: SUPERMASK_DATA.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Two epochs of 600 images, drawn at random where the files are missing: does it train?"
        ),
    ] = False,
) -> None:
    """Trains rows of the paper's table and prints them beside the published figures."""
    place = script.device_of(device)
    torch.set_num_threads(threads)
    chosen = choose(rows)
    folder = store or Path(tempfile.mkdtemp() if quick else Path(__file__).parent / "results" / "paper_table")
    loaded: dict[str, Dataset] = {}
    done: list[record.Row] = []
    for row in chosen:
        if row.dataset not in loaded:
            found = _few(find_images(row.dataset, data_root)) if quick else data.load(row.dataset, data_root)
            loaded[row.dataset] = found
        images = loaded[row.dataset]
        changes = {"epochs": QUICK_EPOCHS, "dataset": images.name} if quick else {}
        trials = [row.trial(seed, **changes) for seed in fresh_seeds(seeds, ())]
        kept = Store(folder, row, trials[0])
        missing = [trial for trial in trials if trial.seed not in kept.results]
        for start in range(0, len(missing), lanes):
            train(row, missing[start : start + lanes], kept, images=images, device=place)
        done.append(summary(row, trials[0], [kept.results[trial.seed] for trial in trials]))
        if json:
            record.write(json, done)
    Console().print(_table(done))


if __name__ == "__main__":
    script.start(main)

"""Writes `docs/performance.md` from the records in `benchmarks/results`: what the page says was measured.

    python benchmarks/page.py

A record that is not there yet makes a section that says so.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record
from sweeps.store.paths import replacing

PAGE = record.REPOSITORY / "docs" / "performance.md"
RESULTS = record.REPOSITORY / "benchmarks" / "results"


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        title: Its heading.
        name: Of the record and, if there is one, its picture.
        command: Which made the record.
        text: What is compared.
    """

    title: str
    name: str
    command: str
    text: str


SECTIONS = (
    Section(
        "Training steps, FCN",
        "step_fcn",
        "python benchmarks/step.py --networks fcn --lanes 8,16",
        "A pack on each core, as a sweep trains, against float32 peers of the same algorithm: an eager loop over "
        "tensors in memory (the better of one process with two threads and two with one), the same with torchvision's "
        "DataLoader, and `torch.func.vmap` over as many models. K is the lanes of a pack.",
    ),
    Section(
        "Training steps, Conv4",
        "step_conv4",
        "python benchmarks/step.py --networks conv4 --lanes 1",
        "The same for a convolutional network. On a CPU lanes of convolutions run one after the other; what is gained "
        "is bfloat16 and one compiled program, so it depends on how fast the processor multiplies bfloat16. The limit "
        "is what products and memory traffic alone would take.",
    ),
    Section(
        "Whole sweeps",
        "sweep",
        "python benchmarks/sweep.py",
        "`sweeps run` from an empty folder for two minutes, start and compiling included, against Ray Tune with "
        "OptunaSearch and MLflowLoggerCallback: as documented (a DataLoader trainable), and tuned by hand (reused "
        "actors, images in memory). FCN on MNIST, ten epochs a trial. With stopping more trials end, most of them "
        "before their last epoch, and after so short a time fewer are finished: its hypervolume is behind. "
        "Measured when the hypervolume was that of finished trials on a linear scale; now it is that of all networks, "
        "in decades.",
    ),
    Section(
        "Early stopping",
        "stopping",
        "python benchmarks/stopping.py",
        "Epochs, summed over all trials, until a sweep has the hypervolume that TPE without stopping has in the end. "
        "A ratio of 3 means a third of the epochs; a sweep that never comes there counts with all of them. "
        "On this small problem, where a third of the epochs reaches nearly as much, stopping saves none. Measured when "
        "the hypervolume was that of finished trials on a linear scale; now it is that of all networks, in decades.",
    ),
    Section(
        "Estimates",
        "estimates",
        "python benchmarks/estimates.py",
        "How far a front is to be believed: accuracy that it promised of its networks less the mean that ten fresh "
        "seeds reach, in points, and how many of these seeds end in the 90 % interval, which is stated for the "
        "validation part. Random search on the digits (two sweeps of 240 trials of 30 epochs) and of an FCN of width "
        "0.3 on MNIST (one of 40 trials of 16 epochs). Fronts go by estimates; raw accuracies stand beside them. "
        "Each value is the mean over n networks.",
    ),
    Section(
        "Lanes that stop make room",
        "utilisation",
        "python benchmarks/utilisation.py",
        "A sweep that stops trials, with lanes that are packed anew at rungs and with packs that shrink.",
    ),
    Section(
        "The driver",
        "driver",
        "python benchmarks/driver.py",
        "Reports of made-up packs through searcher, books, Parquet, study and a mirror that lags, against the stock "
        "stack's OptunaSearch and MLflowLoggerCallback.",
    ),
    Section(
        "The sampler",
        "sampler",
        "python benchmarks/sampler.py",
        "Time to sample 64 trials with TPE after so many have ended, against Optuna's own.",
    ),
    Section(
        "Checkpoints",
        "checkpoints",
        "python benchmarks/checkpoints.py",
        "Training with checkpoints, against training without.",
    ),
    Section(
        "Networks that are kept",
        "networks",
        "python benchmarks/networks.py",
        "Share of the training time that it takes to judge the network of every epoch and to copy those that nobody "
        "beats: masks and what else is trained, two bits a weight or fewer. Conv8 is timed on 1,800 images, and the "
        "share is that of an epoch of 45,000.",
    ),
    Section(
        "Workers that come and go",
        "preemption",
        "python benchmarks/preemption.py",
        "A sweep of FCN on MNIST whose worker node lives for three minutes, gets 30 seconds' notice and is replaced "
        "when it is gone, against the same sweep on a node that is left alone; both run at once, each on one core.",
    ),
    Section(
        "A tracking server that is dead",
        "dead_mlflow",
        "python benchmarks/dead_mlflow.py",
        "A sweep whose MLflow server is dead from start to end, against one that has none configured.",
    ),
    Section(
        "Analysis of 100,000 trials",
        "analysis",
        "python benchmarks/analysis.py",
        "What a command takes that reads a sweep of 100,000 trials.",
    ),
    Section(
        "The report of 100,000 trials",
        "report",
        "python benchmarks/report.py",
        "Time to write the report of a sweep of 100,000 trials, its size, and how long its page is busy at a hover.",
    ),
    Section(
        "A trained network on disk",
        "artifact_size",
        "python benchmarks/artifact_size.py",
        "Bytes of an artifact against those of the dense float32 weights.",
    ),
)

HEAD = """# Performance

Every figure here stands in a record under `benchmarks/results/` that the named command wrote; this page is written
from them by `python benchmarks/page.py`. Both sides of a ratio ran in the same run on the same machine; a ratio above 1
means that this project is better. Range: the least and the greatest ratio of the n repetitions.

**GPU figures are not yet measured.** `python -m benchmarks.gpu --json FILE --folder DIR` answers every question about a
GPU in calls of at most nine minutes that go on where the last one ended; every tensor path runs on CUDA, in bfloat16
and in float32, but no GPU was at hand.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(text for section in SECTIONS for text in _section(section))])


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}\n"
    yield f"{section.text}\n"
    file = RESULTS / f"{section.name}.json"
    if not file.exists():
        yield f"Not yet measured: `{section.command} --json benchmarks/results/{file.name}`.\n"
        return
    document = json.loads(file.read_text(encoding="utf-8"))
    yield f"`{section.command}` ({_about(document)}, [record](../benchmarks/results/{file.name})):\n"
    yield "| case | ours | peer | ratio | range | n |\n|---|---|---|---|---|---|"
    yield from (_row(row) for row in document["rows"])
    yield ""
    if file.with_suffix(".png").exists():
        yield f"![{section.title}](../benchmarks/results/{section.name}.png)\n"


def _about(document: dict[str, Any]) -> str:
    hardware = document["hardware"]
    facts = [
        f"{hardware['gpu'] or hardware['cpu']}",
        f"{hardware['cores']} cores",
        f"torch {document['versions']['torch']}",
    ]
    if "matmul_gflops" in hardware:
        facts.append(f"{hardware['matmul_gflops']:,.0f} GFLOP/s in {hardware['matmul_dtype']}")
    return ", ".join([*facts, f"commit {(document['commit'] or 'unknown')[:7]}"])


def _row(row: dict[str, Any]) -> str:
    facts = [row["unit"]] if row.get("unit") else []
    if row.get("missed"):
        facts.append(f"{row['missed']} of {row['n']} never came there")
    if row.get("over_limit"):
        facts.append(f"{row['over_limit']:.1f} times the limit")
    if row.get("standard_error"):
        facts.append(f"standard error {row['standard_error']:.2g}")
    about = f" ({'; '.join(facts)})" if facts else ""
    peer, ratio, low, high = record.against_peer(row)
    span = "-" if ratio is None else f"{number(low)} to {number(high)}"
    cells = (f"{row['case']}{about}", *map(number, (row["ours"], peer, ratio)), span, str(row["n"]))
    return f"| {' | '.join(cells)} |"


def number(value: float | None) -> str:
    """Three digits that count, with commas in thousands; a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    """Writes the page."""
    with replacing(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

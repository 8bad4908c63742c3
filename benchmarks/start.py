"""Where the seconds of a start go: commands that read, and a sweep until its first trial has trained an epoch.

Two trials of one epoch on the digits, on Ray and in this process. A step begins with the line that a session prints, or
when a worker takes a pack (`started` of a trial); the first trained epoch is the first trial's end. Processor seconds
are those of the driver alone.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from sweeps import results

STEPS = ("starting", "reading digits", "connected and planned", "first pack in a worker", "first trained epoch")
SIGNS = (": starting", ": reading digits", " a pack (")
"""What a session prints when it comes to the first three."""
WAYS: dict[str, tuple[str, ...]] = {"on Ray": (), "in this process": ("--in-process",)}


def sweep(root: Path, name: str, options: Sequence[str]) -> list[float]:
    """Seconds from the command until each of `STEPS`."""
    size = ["--trials", "2", "--lanes", "1", "--set", "fixed.epochs=1", "--set", "constraints=[]"]
    command = [sys.executable, "-m", "sweeps", "run", "fcn_digits", "--name", name, "--root", str(root)]
    began, reached = time.time(), list[float]()
    with subprocess.Popen(
        [*command, *size, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr or ():
            if len(reached) < len(SIGNS) and SIGNS[len(reached)] in line:
                reached.append(time.time() - began)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
    rows = results.load(root, name).to_pylist()
    for column in ("started", "ended"):
        first: datetime = min(row[column] for row in rows)
        reached.append(first.timestamp() - began)
    return reached


def command(words: Sequence[str]) -> tuple[float, float]:
    """Seconds, and processor seconds, of a command that reads."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "sweeps", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.perf_counter() - began
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Once, in this process only.")] = False,
) -> None:
    """Prints seconds until each step of a start, and of commands that read."""
    ways = {"in this process": WAYS["in this process"]} if quick else WAYS
    rows = list[Row]()
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        root = Path(folder)
        for way, options in ways.items():
            runs = [sweep(root, f"s{len(rows)}-{number}", options) for number in range(1 if quick else 5)]
            for place, step in enumerate(STEPS):
                rows.append(record.alone(f"{way}: {step}", [run[place] for run in runs], unit="s"))
        for words in (["--help"], ["pareto", "s0-0", "--root", str(root)]):
            found = [command(words) for _ in range(2 if quick else 5)][1:]  # the first fills the system's cache
            seconds, processor = zip(*found, strict=True)
            rows.append(record.alone(f"sweeps {words[0]}", seconds, unit="s", processor_seconds=min(processor)))
    if json_file:
        record.write(json_file, rows)
    Console().print(record.table(rows))
    Console().print(f"{os.cpu_count()} cores")


if __name__ == "__main__":
    script.start(main)

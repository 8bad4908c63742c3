"""How much longer a sweep takes while its MLflow server is dead from start to end.

Every side is the same `sweeps run` of the same trials with the same seed, from the command to its end. The peer is the
sweep with no server configured, whose mirror is the SQLite store in its root. A dead server is one of two: nobody
listens at its address, so that every connection is refused at once; or connections are taken and nobody answers, so
that every request waits for its timeout.
"""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from sweeps import results

REFUSED, SILENT = "nobody listens", "nobody answers"
err = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def dead_server(kind: str) -> Iterator[str]:
    """The address of a server that is dead in one of the two ways."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        if kind == SILENT:
            place.listen(128)
        yield f"http://127.0.0.1:{place.getsockname()[1]}"


def seconds(space: str, trials: int, epochs: int, *, server: str | None, data: Path | None) -> float:
    """Time of one whole sweep.

    Raises:
        typer.Exit: If it does not finish all trials.
    """
    with tempfile.TemporaryDirectory(prefix="dead-mlflow-", ignore_cleanup_errors=True) as root:
        command = [str(Path(sys.executable).with_name("sweeps")), "run", space, "--root", root, "--name", "timed"]
        command += ["--trials", str(trials), "--lanes", "8", "--set", f"fixed.epochs={epochs}"]
        command += ["--set", "sampler={name: random, seed: 1}", "--set", "constraints=[]"]
        command += ["--tracking-uri", server] if server else []
        command += ["--data", str(data)] if data else []
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took = time.perf_counter() - began
        if done.returncode or results.load(root, "timed").num_rows != trials:
            err.print(f"a sweep must end all its {trials} trials. It wrote:\n{done.stderr[-3000:]}", markup=False)
            raise typer.Exit(1)
    return took


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits instead of MNIST, short, once.")] = False,
    repeats: Annotated[int | None, typer.Option(help="Repetitions [5].", min=1)] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
) -> None:
    """Prints how long a sweep takes with a dead MLflow server and with none configured."""
    space, trials, epochs = ("fcn_digits", 16, 4) if quick else ("fcn_mnist", 32, 12)
    times: dict[str | None, list[float]] = {None: [], REFUSED: [], SILENT: []}
    for repeat in range(repeats or (1 if quick else 5)):
        for kind, taken in times.items():
            with dead_server(kind) if kind else contextlib.nullcontext() as server:
                taken.append(seconds(space, trials, epochs, server=server, data=data))
            err.print(f"{repeat + 1}: {kind or 'no server configured'}: {taken[-1]:.1f} s", markup=False)
    rows = [
        record.compare(
            f"seconds of a sweep of {trials} trials, {epochs} epochs each, while {kind}",
            times[kind],
            peer=times[None],
            lower_is_better=True,
            unit="s",
            longer=float(np.median(np.divide(times[kind], times[None]))) - 1,
        )
        for kind in (REFUSED, SILENT)
    ]
    if json:
        record.write(json, rows)
    Console().print(record.table(rows, longer_by=lambda row: f"{row['longer']:+.1%}"))


if __name__ == "__main__":
    script.start(main)

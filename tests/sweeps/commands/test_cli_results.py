"""The commands that look at a sweep, a dry run, and the helps."""

import csv
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image

from search_spaces.space import Constraint
from supermask.config import TrainConfig
from sweeps import __main__ as command_line
from sweeps.commands import results
from sweeps.results import CONFIG_COLUMNS, ResultsWriter, epochs_table, trials_table
from sweeps.store.lease import write_session
from sweeps.store.paths import SweepPaths
from tests.sweeps.conftest import SPACE, ended_row, epoch_rows

REPOSITORY = Path(__file__).resolve().parents[3]
COMMANDS: dict[str, Any] = typer.main.get_command(command_line.app).commands  # pyright: ignore[reportAttributeAccessIssue]
EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]


def fresh(code: str, *arguments: str, folder: Path) -> str:
    """What a fresh process prints: nothing there is imported yet."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def grown(row: dict[str, Any], points: Iterable[tuple[float, float]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A trial and its epochs, each with its estimate and remaining weights; a raw accuracy is a point better."""
    metrics = [
        {"estimate": estimate, "val_accuracy": estimate + 0.01, "standard_error": 0.02, "remaining": remaining}
        for estimate, remaining in points
    ]
    row = row | metrics[-1] | {"epochs_done": len(metrics)}
    epochs = zip(epoch_rows(row), metrics, strict=True)
    return row, [epoch | own for epoch, own in epochs]


def write_networks(root: Path, trials: Iterable[tuple[dict[str, Any], list[dict[str, Any]]]]) -> SweepPaths:
    """A sweep with these trials, ended or running, and their epochs."""
    paths, trials = SweepPaths(root, "small"), list(trials)
    writer = ResultsWriter(paths.folder)
    writer.add_epochs(epochs_table(epoch for _, epochs in trials for epoch in epochs))
    writer.add_trials(trials_table(row for row, _ in trials))
    writer.flush()
    paths.space.write_text(SPACE.to_yaml())
    counts = {"asked": len(trials), "running": sum(row["state"] == "running" for row, _ in trials)}
    session = {"name": "small", "state": "interrupted", "host": "elsewhere", "pid": 1, "seconds": 12.5}
    write_session(paths, session | {"updated": "2026-01-02T03:04:05+00:00", "trials": counts})
    return paths


def test_pareto_as_json(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    rows = [ended_row(trial, learning_rate=1 / (3 + trial)) for trial in range(4)]
    paths = write_sweep(sweeps.folder / "sweeps-out", [*rows, ended_row(4, "failed", remaining=0.9)])
    done = sweeps("pareto", "small", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert [{**record, "config": None} for record in found] == [
        {
            "trial": row["trial"],
            "epoch": 1,  # of networks with equal numbers the first stands
            "val_accuracy": row["val_accuracy"],
            "estimate": {"accuracy": row["estimate"], "standard_error": row["standard_error"]},
            "remaining": row["remaining"],
            "config": None,
        }
        for row in rows
    ]
    for record, row in zip(found, rows, strict=True):
        expected = {name: row[name] for name in record["config"]} | {"epochs": 1}
        assert TrainConfig.from_dict(record["config"]).to_dict() == expected
    assert done.err.splitlines()[-1] == f"picture: {paths.front_png}"
    with Image.open(paths.front_png) as picture:
        assert picture.format == "PNG"


def test_every_epoch_of_every_trial_stands_for_the_front(sweeps: Any) -> None:
    row = ended_row(0, epochs=3)
    trials = [
        grown(row, [(0.70, 0.60), (0.90, 0.30), (0.88, 0.40)]),  # its end is worse than what it was
        grown(row | {"trial": 1, "state": "running"}, [(0.60, 0.10), (0.80, 0.05)]),
        grown(row | {"trial": 2, "state": "failed", "reason": "diverged"}, [(0.95, 0.50)]),
        grown(row | {"trial": 3, "state": "stopped"}, [(0.50, 0.04)]),
    ]
    write_networks(sweeps.folder / "sweeps-out", trials)
    found = json.loads(sweeps("pareto", "small", "--json").out)
    keys = [(2, 1), (0, 2), (1, 2), (3, 1)]
    assert [(record["trial"], record["epoch"]) for record in found] == keys
    assert [record["config"]["epochs"] for record in found] == [1, 2, 2, 1]
    assert [record["estimate"] for record in found] == [
        {"accuracy": accuracy, "standard_error": 0.02} for accuracy in (0.95, 0.9, 0.8, 0.5)
    ]
    done = sweeps("pareto", "small")
    assert [line.split()[0] for line in done.out.splitlines() if "@" in line] == ["2@1", "0@2", "1@2", "3@1"]
    assert "recommended: network 1@2, " in done.err


def test_a_bound_on_accuracy_is_kept_by_the_estimate(sweeps: Any) -> None:
    write_networks(sweeps.folder / "sweeps-out", [grown(ended_row(0), [(0.895, 0.2), (0.90, 0.3)])])  # raw 0.905, 0.91
    found = json.loads(sweeps("pareto", "small", "--json", "--min", "accuracy=0.9").out)
    assert [(record["trial"], record["epoch"]) for record in found] == [(0, 2)]


def test_pareto_as_csv_and_as_a_table(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    rows = [ended_row(trial, estimate=0.8 - trial / 100) for trial in range(3)]
    write_sweep(sweeps.folder / "sweeps-out", rows)
    records = list(csv.DictReader(io.StringIO(sweeps("pareto", "small", "--csv").out)))
    metrics = ["estimate", "standard_error", "val_accuracy", "remaining", "test_accuracy"]
    assert list(records[0]) == ["trial", "epoch", *metrics, *CONFIG_COLUMNS]
    assert [(record["trial"], record["epoch"], record["epochs"]) for record in records] == [
        ("0", "1", "1"), ("1", "1", "1"), ("2", "1", "1"),
    ]  # fmt: skip
    for name in ("estimate", "standard_error", "val_accuracy", "remaining"):
        assert [float(record[name]) for record in records] == [row[name] for row in rows]
    lines = sweeps("pareto", "small").out.splitlines()
    assert lines[0].rstrip() == "front of small: 3 networks"
    assert lines[-2 if not lines[-1].strip() else -1].split()[:7] == [
        "2@1",
        "78.00",
        "±",
        "1.00",
        "88.00",
        "16.67",
        "-",
    ]


@pytest.mark.parametrize(
    ("options", "trials"),
    [
        (["--min", "accuracy=0.885"], [0, 1]),
        (["--max", "remaining=0.25"], [1, 2, 3]),
        (["--max", "remaining=0.25", "--min", "val_accuracy=0.885"], [1]),
        (["--min", "accuracy=0.88", "--min", "accuracy=0.89"], [0, 1]),
        (["--min", "accuracy=1"], []),
    ],
)
def test_pareto_within_bounds(
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep, options: list[str], trials: list[int]
) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(trial) for trial in range(4)])
    done = sweeps("pareto", "small", "--json", *options)
    assert [record["trial"] for record in json.loads(done.out)] == trials
    assert done.code == 0


def test_pareto_keeps_to_the_constraints_of_the_space(
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    constraints = (Constraint("remaining", "<=", 0.2),)
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(trial) for trial in range(4)], constraints=constraints)
    assert [record["trial"] for record in json.loads(sweeps("pareto", "small", "--json").out)] == [2, 3]


def test_status_and_list_as_json(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    root = sweeps.folder / "elsewhere"
    write_sweep(root, [ended_row(0), ended_row(1, "failed")], asked=5, state="interrupted")
    write_sweep(root, [ended_row(0)], name="another")
    (root / "mlflow-artifacts").mkdir()
    done = sweeps("status", "small", "--json", "--root", "elsewhere")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found == {
        "name": "small",
        "state": "interrupted",
        "trials": {"asked": 5, "finished": 1, "stopped": 0, "failed": 1, "running": 0, "waiting": 3},
        # In accuracy from guessing, in weights by decades down to a thousandth; also of the trial that failed.
        "hypervolume": pytest.approx(
            (0.8 * math.log10(2) + 0.79 * (math.log10(4) - math.log10(2))) / 0.9 / 3, rel=1e-12
        ),
        "seconds": 12.5,
    }
    sweeps.monkeypatch.setenv("SWEEPS_ROOT", str(root))
    listed = json.loads(sweeps("list", "--json").out)
    assert [row["name"] for row in listed] == ["another", "small"]
    assert listed[1] == found


def test_status_and_list_as_tables(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    for command in (["status", "small"], ["list"]):
        done = sweeps(*command)
        assert done.code == 0
        assert "small finished 6 1 1 0 0 0 0 0.0892 12 s" in [" ".join(line.split()) for line in done.out.splitlines()]


def test_the_hypervolume_is_there_before_a_trial_has_ended_and_counts_from_guessing(sweeps: Any) -> None:
    row = ended_row(0, "running", classes=100)
    write_networks(sweeps.folder / "sweeps-out", [grown(row, [(0.505, 0.1)])])
    found = json.loads(sweeps("status", "small", "--json").out)
    assert found["trials"] == {"asked": 1, "finished": 0, "stopped": 0, "failed": 0, "running": 0, "waiting": 1}
    assert found["hypervolume"] == pytest.approx(0.5 / 3)


def test_an_empty_root_is_no_error(sweeps: Any) -> None:
    assert sweeps("list", "--json").out == "[]\n"
    done = sweeps("list")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"no sweeps in {sweeps.folder}/sweeps-out. Start one: sweeps run fcn_digits\n"
    assert sweeps.files() == []


def test_where_no_sweep_can_be_read_their_names_are_told(sweeps: Any, write_sweep: WriteSweep) -> None:
    root = sweeps.folder / "sweeps-out"
    for name in ("one", "other"):
        write_sweep(root, [], name=name).space.write_text("name: [")
    done = sweeps("list")
    assert (done.code, done.out) == (0, "")
    *reasons, last = done.err.splitlines()
    assert [line.split(": left out: ")[0] for line in reasons if ": left out: " in line] == ["one", "other"]
    assert last == f"no sweep in {root} can be read, see above: one, other"
    assert sweeps("list", "--json").out == "[]\n"


def test_a_dry_run_shows_all_and_starts_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from sweeps.__main__ import app; app(sys.argv[1:], standalone_mode=False); "
        "print('LOADED', *sorted({'ray', 'mlflow'} & set(sys.modules)))"
    )
    shown = fresh(code, "run", "fcn_digits", "--dry-run", "--trials", "48", "--set", "fixed.epochs=7", folder=tmp_path)
    assert "name: fcn_digits\n" in shown
    assert "epochs: 7\n" in shown
    assert "trials: 48\n" in shown
    table = shown[shown.index("10 random trials") : shown.index("packs:")]
    rows = [line.split() for line in table.splitlines() if line.strip()[:1].isdigit()]
    assert len(rows[1:]) == 10
    assert {len(row) for row in rows[1:]} == {4}
    assert len({tuple(row) for row in rows[1:]}) == 10
    for word in ("packs:", "time:     about ", "memory:   about ", "dry run: nothing was started or written"):
        assert word in shown
    assert shown.splitlines()[-1] == "LOADED"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["pareto", "small"], ["status", "small"], ["list"]])
def test_looking_at_results_loads_nothing_heavy(
    tmp_path: Path, ended_row: EndedRow, write_sweep: WriteSweep, command: list[str]
) -> None:
    write_sweep(tmp_path / "sweeps-out", [ended_row(0), ended_row(1)])
    heavy = {"ray", "mlflow", "torch", "torchvision", "sklearn", "pandas"}
    code = (
        "import sys; from sweeps.__main__ import app; app(sys.argv[1:], standalone_mode=False); "
        f"print('LOADED', *sorted({heavy} & set(sys.modules)))"
    )
    first, again = (fresh(code, *command, folder=tmp_path).splitlines()[-1] for _ in range(2))
    assert first in ("LOADED", "LOADED pandas")  # to draw the front
    assert again == "LOADED"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(sweeps: Any, command: str) -> None:
    done = sweeps(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: sweeps {command}" in done.out
    for parameter in COMMANDS[command].params:
        assert parameter.name == "help" or parameter.param_type_name == "argument" or parameter.help, parameter.name


def test_the_commands_that_others_rely_on_exist(sweeps: Any) -> None:
    done = sweeps("--help")
    assert done.code == 0
    groups = [block.split("\n") for block in done.out.split("\n\n")]
    found = {lines[0].rstrip(":"): {line.split()[0] for line in lines[1:] if line[:3].strip()} for lines in groups}
    assert {"init", "run", "resume", "train"} <= found["Run"]
    assert {"list", "status", "pareto", "report", "layers", "ui"} <= found["Look"]
    assert {"confirm", "export"} <= found["Use"]
    assert {"verify", "mlflow-sync"} <= found["Keep"]
    assert "..." not in done.out.partition("Run:")[2]
    assert sweeps().err.strip() == done.out.strip()


def test_an_interrupt_before_anything_started_is_one_word(sweeps: Any) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    sweeps.monkeypatch.setattr(results, "sweep_names", interrupt)
    done = sweeps("list")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_a_sweep_with_a_link_to_elsewhere_is_not_written_through(
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    (sweeps.folder / "mine").write_text("precious")
    paths.front_png.symlink_to(sweeps.folder / "mine")
    done = sweeps("pareto", "small")
    assert (done.code, done.out) == (2, "")
    assert f"front.png is a link to {sweeps.folder}/mine" in done.err
    assert (sweeps.folder / "mine").read_text() == "precious"


@pytest.mark.parametrize("words", [["run"], ["resume"], ["list"], ["status"], ["pareto"], ["confirm"], ["verify"]])
def test_what_prints_a_table_prints_json_on_request(words: list[str]) -> None:
    assert "--json" in [option for parameter in COMMANDS[words[0]].params for option in parameter.opts]


def test_a_shell_completes_commands_and_names_of_sweeps(
    tmp_path: Path, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    write_sweep(tmp_path / "sweeps-out", [ended_row(0)], name="first")
    write_sweep(tmp_path / "sweeps-out", [ended_row(0)], name="second")

    def complete(line: str, word: int) -> list[str]:
        code = "from sweeps.__main__ import app; app(prog_name='sweeps')"
        environment = {"PYTHONPATH": str(REPOSITORY), "_SWEEPS_COMPLETE": "complete_bash", "COMP_WORDS": line}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **environment, "COMP_CWORD": str(word)},
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        return done.stdout.split()

    assert complete("sweeps st", 1) == ["status"]
    assert complete("sweeps status ", 2) == ["first", "second"]
    assert complete("sweeps pareto se", 2) == ["second"]


def test_a_dry_run_as_json(tmp_path: Path) -> None:
    code = "import sys; from sweeps.__main__ import app; app(sys.argv[1:], standalone_mode=False)"
    found = json.loads(fresh(code, "run", "fcn_digits", "--dry-run", "--trials", "48", "--json", folder=tmp_path))
    assert (found["space"]["name"], found["space"]["budget"]) == ("fcn_digits", {"trials": 48})
    assert len(found["samples"]) == 10
    assert found["plan"]["lanes"] >= 1
    assert found["estimate"]["seconds"] > 0

"""The command line. Nothing here starts Ray; see test_sweep for whole sweeps."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from PIL import Image

from search_spaces.space import Constraint
from supermask.config import TrainConfig
from sweeps import __main__ as command_line
from sweeps.heartbeat import write_session
from sweeps.paths import SweepPaths

REPOSITORY = Path(__file__).resolve().parents[2]
SPACE = """
name: mine
fixed: {network: fcn, dataset: digits, epochs: 1}
search:
  learning_rate: {low: 0.01, high: 1.0, log: true}
budget: {trials: 4}
"""
COMMANDS: dict[str, Any] = typer.main.get_command(command_line.app).commands  # pyright: ignore[reportAttributeAccessIssue]
EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass
class Shell:
    """Runs commands in this process, in an empty folder of their own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["sweeps", *arguments])
        with pytest.raises(SystemExit) as raised:
            command_line.main()
        code = raised.value.code
        assert isinstance(code, int)
        written = self.capsys.readouterr()
        return Done(code, written.out, written.err)

    def files(self) -> list[str]:
        """All that lies in the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    for name in ("SWEEPS_ROOT", "SUPERMASK_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before = signal.getsignal(signal.SIGTERM)
    yield Shell(tmp_path / "work", monkeypatch, capsys)
    signal.signal(signal.SIGTERM, before)


def fresh(code: str, *arguments: str, folder: Path) -> str:
    """What a fresh process prints: nothing there is imported yet."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FAULTY_SPACES = {
    "an empty file": ("", "must be a mapping of name, search and budget, but got an empty file."),
    "a list": ("- 1\n", "must be a mapping of name, search and budget, but got [1]."),
    "no YAML": ("name: [", "must be YAML, but got "),
    "a wrong type": (
        SPACE.replace("trials: 4", "trials: many"),
        "budget.trials: must be a whole number, but got 'many'. Give a whole number.",
    ),
    "a number that YAML reads as text": (
        SPACE.replace("low: 0.01", "low: 1e-2"),
        "search.learning_rate.low: must be a finite number, but got '1e-2'. YAML reads 1e-2 as text; write 1.0e-2.",
    ),
    "an unknown field": (
        SPACE.replace("learning_rate", "learning_rte"),
        "search.learning_rte: must be a known field, but got 'learning_rte'. Did you mean 'learning_rate'?",
    ),
    "an unknown key": (SPACE + "sampelr: {name: tpe}\n", "Did you mean 'sampler'?"),
    "low above high": (
        SPACE.replace("low: 0.01, high: 1.0", "low: 1.0, high: 0.01"),
        "search.learning_rate: low <= high must hold, but got low 1.0 and high 0.01. Swap them.",
    ),
    "log from 0": (
        SPACE.replace("low: 0.01", "low: 0.0"),
        "search.learning_rate.low: 0 < learning_rate must hold, but got 0.0. Choose a value inside the range.",
    ),
    "log from 0 where 0 is legal": (
        SPACE.replace("learning_rate", "weight_decay").replace("low: 0.01, high: 1.0", "low: 0, high: 0.1"),
        "search.weight_decay",
    ),
    "no objectives": (
        SPACE + "objectives: {}\n",
        "objectives: at least one objective must be given, but got none. Add e.g. `val_accuracy: maximize`, "
        "or remove the key for the default.",
    ),
    "zero trials": (
        SPACE.replace("trials: 4", "trials: 0"),
        "budget.trials: trials >= 1 must hold, but got 0. Choose a value inside the range.",
    ),
    "an unknown dataset": (
        SPACE.replace("digits", "digtis"),
        "dataset: must be one of digits, mnist, fashion_mnist, cifar10, cifar100, cifar10-jpeg or folder:NAME, "
        "but got 'digtis'. Did you mean 'digits'?",
    ),
    "a missing data folder": (
        SPACE.replace("digits", "mnist"),
        "dataset mnist: its files must lie in nowhere/MNIST/raw",
    ),
    "a network too deep for its images": (
        SPACE.replace("fcn", "conv8"),
        "network conv8: images must be at least 16x16",
    ),
    "a batch larger than the data": (
        SPACE.replace("epochs: 1", "batch_size: 4096"),
        "dataset digits: training part >= batch_size 4096",
    ),
}


@pytest.mark.parametrize("fault", FAULTY_SPACES)
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_a_faulty_space_is_one_message_and_leaves_nothing(sweeps: Shell, fault: str, dry_run: list[str]) -> None:
    text, message = FAULTY_SPACES[fault]
    Path("mine.yaml").write_text(text)
    done = sweeps("run", "mine.yaml", "--data", "nowhere", *dry_run)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert (done.code, done.out) == (2, "")
    assert sweeps.files() == ["mine.yaml"]


def test_all_faults_of_a_space_are_told_together(sweeps: Shell) -> None:
    Path("mine.yaml").write_text(SPACE.replace("trials: 4", "trials: 0").replace("epochs: 1", "epoch: 1"))
    done = sweeps("run", "mine.yaml", "--seed", "-1")
    assert done.code == 2
    assert [line.split(": ")[1] for line in done.err.splitlines()] == ["budget.trials", "sampler.seed", "fixed.epoch"]


NAME_RULE = "must be at most 100 letters, digits, '.', '_' and '-' and start with a letter or digit"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--root", "/proc/nonexistent"], "root /proc/nonexistent: must be a folder that can be written, but got: "),
        (["--root", "mine.yaml"], "/mine.yaml: must be a folder, but is a file. Choose another place with --root."),
        (["--root", "mine.yaml/x"], "/mine.yaml/x: must be a folder that can be written, but got: "),
        (["--root", ""], "--root: must name a folder, but got ''. Leave it out to use ./sweeps-out."),
        (["--name", "../evil"], f"name: {NAME_RULE}, but got '../evil'. Choose such a name."),
        (["--name", "a/b"], f"name: {NAME_RULE}, but got 'a/b'. Choose such a name."),
        (["--name", ".."], f"name: {NAME_RULE}, but got '..'. Choose such a name."),
        (["--name", ""], f"name: {NAME_RULE}, but got ''. Choose such a name."),
        (["--name", "mlflow.db"], "name: must not be 'mlflow.db', where the MLflow store of the root lives."),
        (["--trials", "0"], "budget.trials: trials >= 1 must hold, but got 0."),
        (["--lanes", "0"], "--lanes: must be a whole number from 1 or auto, but got '0'. Write for example 16."),
        (["--lanes", "-3"], "--lanes: must be a whole number from 1 or auto, but got '-3'. Write for example 16."),
        (["--lanes", "all"], "--lanes: must be a whole number from 1 or auto, but got 'all'. Write for example 16."),
        (["--cpus-per-pack", "0"], "--cpus-per-pack: must be greater than 0, but got 0. Leave it out to have it"),
        (["--gpus-per-pack", "-1"], "--gpus-per-pack: must be greater than 0, but got -1. Leave it out to have it"),
        (["--gpus-per-pack", "nan"], "--gpus-per-pack: must be greater than 0, but got nan. Leave it out to have it"),
        (["--seed", "-1"], "sampler.seed: seed >= 0 must hold, but got -1."),
        (["--set", "fixed.epochs"], "--set: must read PATH=VALUE, the value in YAML, but got 'fixed.epochs'."),
        (["--set", "fixed.epochs=[1"], "--set: must read PATH=VALUE, the value in YAML, but got 'fixed.epochs=[1'."),
        (["--set", "fixed.epoch=3"], "mine.yaml with --set fixed.epoch: fixed.epoch: must be a known field, but got"),
        (["--set", "fixed.epochs=3.5"], "fixed.epochs: must be a whole number, but got 3.5."),
        (["--set", "fixed.dataset=digtis"], "Did you mean 'digits'?"),
    ],
)
def test_a_wrong_option_is_one_message_and_leaves_nothing(sweeps: Shell, options: list[str], message: str) -> None:
    Path("mine.yaml").write_text(SPACE)
    done = sweeps("run", "mine.yaml", *options)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert (done.code, done.out) == (2, "")
    assert sweeps.files() == ["mine.yaml"]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("else/where.yaml", "else/where.yaml: must be a readable YAML file, but got no such file. Check the path."),
        ("mien.yaml", "mien.yaml: must be a readable YAML file, but got no such file. Did you mean 'mine.yaml'?"),
        (".", ".: must be a readable YAML file, but got the error 'Is a directory'."),
        ("fcn_digit", "Did you mean 'fcn_digits'? Give your own file by its path, e.g. my_space.yaml."),
    ],
)
def test_a_space_that_is_not_there(sweeps: Shell, space: str, message: str) -> None:
    Path("mine.yaml").write_text(SPACE)
    done = sweeps("run", space)
    assert message in done.err
    assert done.code == 2
    assert sweeps.files() == ["mine.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument 'space'."),
        (["run", "mine.yaml", "--trials", "many"], "Invalid value for '--trials'"),
        (["run", "mine.yaml", "--bogus"], "No such option: --bogus"),
        (["bogus"], "No such command 'bogus'."),
        (["ui", "mine", "--port", "0"], "Invalid value for '--port'"),
    ],
)
def test_wrong_usage_points_to_the_help(sweeps: Shell, arguments: list[str], message: str) -> None:
    done = sweeps(*arguments)
    assert message in done.err
    assert "--help' for help." in done.err
    assert (done.code, done.out) == (2, "")
    assert sweeps.files() == []


@pytest.mark.parametrize("command", ["resume", "status", "pareto", "verify", "mlflow-sync", "ui"])
def test_a_sweep_that_is_not_there(sweeps: Shell, command: str, write_sweep: WriteSweep) -> None:
    root = sweeps.folder / "sweeps-out"
    done = sweeps(command, "smal")
    assert done.code == 2
    assert done.err == (
        f"sweep smal: must exist under {root}, but there is no such folder. "
        f"Run 'sweeps list --root {root}' to see what there is.\n"
    )
    assert sweeps.files() == []
    write_sweep(root, [])
    assert sweeps(command, "smal").err.endswith("to see what there is, or did you mean 'small'?\n")
    done = sweeps(command, "../small")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("name: must be 1 to 100 letters, digits, '.', '_' or '-'")


def test_a_name_in_use_is_refused_with_both_ways_on(
    sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    before = {name: Path(name).read_bytes() for name in sweeps.files() if Path(name).is_file()}
    done = sweeps("run", "fcn_digits", "--name", "small")
    assert done.code == 2
    assert done.err == (
        f"sweep small: the name must be free, but {sweeps.folder}/sweeps-out/small exists. "
        "Go on with it: sweeps resume small; or choose another name: --name OTHER.\n"
    )
    assert {name: Path(name).read_bytes() for name in sweeps.files() if Path(name).is_file()} == before


@pytest.mark.parametrize("trials", ["3", "0", "-2", "few", "+0"])
def test_resume_refuses_a_smaller_budget(
    sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep, trials: str
) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    space = paths.space.read_text()
    done = sweeps("resume", "small", "--trials", trials)
    assert done.code == 2
    assert done.err == (
        f"--trials: must be a number of at least 6 or +MORE, but got {trials!r}. Write for example +20.\n"
    )
    assert paths.space.read_text() == space


def test_resume_refuses_while_another_driver_works_and_changes_nothing(
    sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    space = paths.space.read_text()
    session = json.loads(paths.session.read_text())
    write_session(paths, session | {"state": "running", "pid": os.getpid(), "host": os.uname().nodename})
    done = sweeps("resume", "small", "--trials", "+10")
    assert done.code == 2
    assert done.err == (
        f"sweep small: only one driver may work on it, but process {os.getpid()} on {os.uname().nodename} does. "
        "Wait for it, or stop it with SIGINT.\n"
    )
    assert paths.space.read_text() == space


def test_resume_checks_its_options_too(sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    done = sweeps("resume", "small", "--lanes", "0")
    assert (done.code, done.err.split(":")[0]) == (2, "--lanes")


def test_pareto_refuses_a_bound_it_cannot_read(sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    for option in ("--min", "--max"):
        done = sweeps("pareto", "small", option, "acuracy=0.9")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"{option}: must be METRIC=NUMBER with a metric out of val_accuracy, ")
    assert not paths.front_png.exists()


def test_pareto_as_json(sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    rows = [ended_row(trial, learning_rate=1 / (3 + trial)) for trial in range(4)]
    paths = write_sweep(sweeps.folder / "sweeps-out", [*rows, ended_row(4, "failed", val_accuracy=0.99)])
    done = sweeps("pareto", "small", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert [set(record) for record in found] == [{"trial", "val_accuracy", "remaining", "config"}] * 4
    assert [(record["trial"], record["val_accuracy"], record["remaining"]) for record in found] == [
        (row["trial"], row["val_accuracy"], row["remaining"]) for row in rows
    ]
    for record, row in zip(found, rows, strict=True):
        assert TrainConfig.from_dict(record["config"]).to_dict() == {name: row[name] for name in record["config"]}
    assert done.err == f"picture: {paths.front_png}\n"
    with Image.open(paths.front_png) as picture:
        assert picture.format == "PNG"


def test_pareto_as_csv_and_as_a_table(sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(trial) for trial in range(3)])
    records = list(csv.DictReader(io.StringIO(sweeps("pareto", "small", "--csv").out)))
    assert [record["trial"] for record in records] == ["0", "1", "2"]
    assert [float(record["val_accuracy"]) for record in records] == [0.9, 0.89, 0.88]
    lines = sweeps("pareto", "small").out.splitlines()
    assert lines[0].rstrip() == "front of small: 3 trials"
    assert lines[-2 if not lines[-1].strip() else -1].split()[:3] == ["2", "88.00", "16.67"]


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
    sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep, options: list[str], trials: list[int]
) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(trial) for trial in range(4)])
    done = sweeps("pareto", "small", "--json", *options)
    assert [record["trial"] for record in json.loads(done.out)] == trials
    assert done.code == 0


def test_pareto_keeps_to_the_constraints_of_the_space(
    sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    constraints = (Constraint("remaining", "<=", 0.2),)
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(trial) for trial in range(4)], constraints=constraints)
    assert [record["trial"] for record in json.loads(sweeps("pareto", "small", "--json").out)] == [2, 3]


def test_status_and_list_as_json(sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
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
        "hypervolume": 0.45,
        "seconds": 12.5,
    }
    sweeps.monkeypatch.setenv("SWEEPS_ROOT", str(root))
    listed = json.loads(sweeps("list", "--json").out)
    assert [row["name"] for row in listed] == ["another", "small"]
    assert listed[1] == found


def test_status_and_list_as_tables(sweeps: Shell, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    for command in (["status", "small"], ["list"]):
        done = sweeps(*command)
        assert done.code == 0
        assert "small finished 1 1 0 0 0 0 0.4500 12 s" in [" ".join(line.split()) for line in done.out.splitlines()]


def test_an_empty_root_is_no_error(sweeps: Shell) -> None:
    assert sweeps("list", "--json").out == "[]\n"
    done = sweeps("list")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"no sweeps in {sweeps.folder}/sweeps-out. Start one: sweeps run fcn_digits\n"
    assert sweeps.files() == []


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
    code = (
        "import sys; from sweeps.__main__ import app; app(sys.argv[1:], standalone_mode=False); "
        "print('LOADED', *sorted({'ray', 'mlflow', 'torch', 'torchvision', 'sklearn'} & set(sys.modules)))"
    )
    assert fresh(code, *command, folder=tmp_path).splitlines()[-1] == "LOADED"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(sweeps: Shell, command: str) -> None:
    done = sweeps(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: sweeps {command}" in done.out
    for parameter in COMMANDS[command].params:
        assert parameter.name == "help" or parameter.param_type_name == "argument" or parameter.help, parameter.name


def test_the_commands_that_others_rely_on_exist(sweeps: Shell) -> None:
    done = sweeps("--help")
    assert done.code == 0
    wanted = ["run", "resume", "list", "status", "pareto", "verify", "mlflow-sync", "ui"]
    assert not [command for command in wanted if f"\n  {command} " not in done.out]
    assert sweeps().err.strip() == done.out.strip()


def test_an_interrupt_before_anything_started_is_one_word(sweeps: Shell) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    sweeps.monkeypatch.setattr(command_line, "sweep_names", interrupt)
    done = sweeps("list")
    assert done.code == 130
    assert "Traceback" not in done.err

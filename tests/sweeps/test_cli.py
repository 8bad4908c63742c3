"""Bad input on the command line: one message, an exit code, and nothing left behind. Nothing here starts Ray."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from sweeps import run
from sweeps.driver.options import Options
from sweeps.errors import SweepError
from sweeps.store.lease import write_session
from sweeps.store.paths import SweepPaths

SPACE = """
name: mine
fixed: {network: fcn, dataset: digits, epochs: 1}
search:
  learning_rate: {low: 0.01, high: 1.0, log: true}
budget: {trials: 4}
"""
EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]


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
def test_a_faulty_space_is_one_message_and_leaves_nothing(sweeps: Any, fault: str, dry_run: list[str]) -> None:
    text, message = FAULTY_SPACES[fault]
    Path("mine.yaml").write_text(text)
    done = sweeps("run", "mine.yaml", "--data", "nowhere", *dry_run)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert (done.code, done.out) == (2, "")
    assert sweeps.files() == ["mine.yaml"]


def test_all_faults_of_a_space_are_told_together(sweeps: Any) -> None:
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
        (["--name", "../evil"], f"mine.yaml with --name: name: {NAME_RULE}, but got '../evil'. Choose such a name."),
        (["--name", "a/b"], f"name: {NAME_RULE}, but got 'a/b'. Choose such a name."),
        (["--name", ".."], f"name: {NAME_RULE}, but got '..'. Choose such a name."),
        (["--name", ""], f"name: {NAME_RULE}, but got ''. Choose such a name."),
        (["--name", "mlflow.db"], "--name: must not be 'mlflow.db', where the MLflow store of the root lives."),
        (["--trials", "0"], "mine.yaml with --trials: budget.trials: trials >= 1 must hold, but got 0."),
        (["--lanes", "0"], "--lanes: must be a whole number from 1 or auto, but got '0'. Write for example 16."),
        (["--lanes", "-3"], "--lanes: must be a whole number from 1 or auto, but got '-3'. Write for example 16."),
        (["--lanes", "all"], "--lanes: must be a whole number from 1 or auto, but got 'all'. Write for example 16."),
        (["--cpus-per-pack", "0"], "--cpus-per-pack: must be greater than 0, but got 0. Leave it out to have it"),
        (["--gpus-per-pack", "-1"], "--gpus-per-pack: must be greater than 0, but got -1. Leave it out to have it"),
        (["--gpus-per-pack", "nan"], "--gpus-per-pack: must be greater than 0, but got nan. Leave it out to have it"),
        (["--seed", "-1"], "mine.yaml with --seed: sampler.seed: seed >= 0 must hold, but got -1."),
        (["--set", "fixed.epochs"], "--set: must read PATH=VALUE, the value in YAML, but got 'fixed.epochs'."),
        (["--set", "fixed.epochs=[1"], "--set: must read PATH=VALUE, the value in YAML, but got 'fixed.epochs=[1'."),
        (["--set", "fixed.epoch=3"], "mine.yaml with --set fixed.epoch: fixed.epoch: must be a known field, but got"),
        (["--set", "fixed.epochs=3.5"], "fixed.epochs: must be a whole number, but got 3.5."),
        (["--set", "fixed.dataset=digtis"], "Did you mean 'digits'?"),
    ],
)
def test_a_wrong_option_is_one_message_and_leaves_nothing(sweeps: Any, options: list[str], message: str) -> None:
    Path("mine.yaml").write_text(SPACE)
    done = sweeps("run", "mine.yaml", *options)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert (done.code, done.out) == (2, "")
    assert sweeps.files() == ["mine.yaml"]


def test_the_version_and_the_short_way_to_the_help(sweeps: Any) -> None:
    assert sweeps("--version") == (0, f"sweeps {version('signed-supermask-sweeps')}\n", "")
    assert sweeps("run", "-h") == sweeps("run", "--help")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("run fcn_d", ["fcn_digits"]),
        ("run mi", ["mine.yaml"]),
        ("pareto de", ["demo"]),
        ("compare demo ", ["demo", "other"]),
        ("layers ot", ["other:"]),
        ("train ot", ["other:"]),
        ("train other:1", ["other:1@20", "other:12@3"]),
        ("layers other:12@", ["other:12@3"]),
        ("layers missing:", []),
        ("export d", ["demo"]),
        ("export other:2", ["other:2@7"]),
        ("init new --network resnet2", ["resnet20"]),
    ],
)
def test_a_shell_completes(tmp_path: Path, words: str, found: list[str]) -> None:
    for name in ("demo", "other"):
        (tmp_path / "sweeps-out" / name).mkdir(parents=True)
        (tmp_path / "sweeps-out" / name / "space.yaml").write_text(SPACE)
    (tmp_path / "sweeps-out/other/masks").mkdir()
    for network in ("12-3", "1-20", "2-7"):
        (tmp_path / f"sweeps-out/other/masks/{network}.safetensors").touch()
    (tmp_path / "mine.yaml").write_text(SPACE)
    line = f"sweeps {words}"
    asked = {"_SWEEPS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    program = str(Path(sys.executable).with_name("sweeps"))
    done = subprocess.run([program], cwd=tmp_path, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stdout.split() == found


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("else/where.yaml", "else/where.yaml: must be a readable YAML file, but got no such file. Check the path."),
        ("mien.yaml", "mien.yaml: must be a readable YAML file, but got no such file. Did you mean 'mine.yaml'?"),
        ("mine", "but got 'mine'. Did you mean 'mine.yaml'?"),
        (".", ".: must be a readable YAML file, but got the error 'Is a directory'."),
        (
            "fcn_digit",
            "Did you mean 'fcn_digits'? Give your own file by its path, e.g. my_space.yaml; write one with: "
            "sweeps init my_space.",
        ),
    ],
)
def test_a_space_that_is_not_there(sweeps: Any, space: str, message: str) -> None:
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
def test_wrong_usage_points_to_the_help(sweeps: Any, arguments: list[str], message: str) -> None:
    done = sweeps(*arguments)
    assert message in done.err
    assert "--help' for help." in done.err
    assert (done.code, done.out) == (2, "")
    assert sweeps.files() == []


@pytest.mark.parametrize("command", ["resume", "status", "pareto", "confirm", "verify", "mlflow-sync", "ui"])
def test_a_sweep_that_is_not_there(sweeps: Any, command: str, write_sweep: WriteSweep) -> None:
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


def test_a_name_in_use_is_refused_with_both_ways_on(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
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
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep, trials: str
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
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    space = paths.space.read_text()
    session = json.loads(paths.session.read_text())
    write_session(paths, session | {"state": "running", "pid": os.getpid(), "host": os.uname().nodename})
    done = sweeps("resume", "small", "--trials", "+10")
    assert done.code == 2
    assert done.err == (
        f"sweep small: only one process may work on it, but process {os.getpid()} on {os.uname().nodename} does. "
        "Wait for it, or stop it with SIGINT. Its last sign of life is 0 s old; after 60 s it counts as dead.\n"
    )
    assert paths.space.read_text() == space


def test_resume_checks_its_options_too(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    done = sweeps("resume", "small", "--lanes", "0")
    assert (done.code, done.err.split(":")[0]) == (2, "--lanes")


def test_pareto_refuses_a_bound_it_cannot_read(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    for option in ("--min", "--max"):
        done = sweeps("pareto", "small", option, "acuracy=0.9")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"{option}: must be METRIC=NUMBER with a metric out of val_accuracy, ")
    assert not paths.front_png.exists()


def test_resume_takes_over_what_the_last_session_was_told(
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    given = Options(
        root=paths.root,
        data_root=".",
        tracking_uri="http://127.0.0.1:5000",
        checkpoint_seconds=0.0,
        lanes=3,
        address="x:1",
    )
    told = run.to_remember(given)
    assert told == {"data": str(sweeps.folder), "tracking_uri": "http://127.0.0.1:5000", "checkpoint_seconds": 0.0}
    assert run.to_remember(Options(root=paths.root, tracking_uri="http://me:secret@127.0.0.1:5000")) == {}
    seen: list[Options] = []

    def stop(_: Any, options: Options, __: Any) -> None:
        seen.append(options)
        raise SweepError("seen")

    monkeypatch.setattr(run, "resume", stop)
    write_session(paths, json.loads(paths.session.read_text()) | {"options": told})
    sweeps("resume", "small")
    sweeps("resume", "small", "--checkpoint-seconds", "5", "--data", "elsewhere", "--lanes", "2")
    write_session(paths, json.loads(paths.session.read_text()) | {"options": told | {"data": "/no/such/folder"}})
    sweeps("resume", "small")
    assert [(one.data_root, one.tracking_uri, one.checkpoint_seconds, one.lanes, one.address) for one in seen] == [
        (str(sweeps.folder), "http://127.0.0.1:5000", 0.0, None, None),
        ("elsewhere", "http://127.0.0.1:5000", 5.0, 2, None),
        (None, "http://127.0.0.1:5000", 0.0, None, None),
    ]


def test_a_start_says_at_once_what_it_does(sweeps: Any) -> None:
    sweeps("run", "fcn_digits", "--name", "mine", "--set", "fixed.dataset=mnist", "--data", "nowhere")
    assert sweeps.steps == ["sweep mine: starting\n", "sweep mine: reading mnist\n"]


@pytest.mark.parametrize("variable", ["SWEEPS_GRACE_SECONDS", "SWEEPS_HANG_SECONDS"])
def test_a_time_in_the_environment_that_is_none_is_refused_before_anything_is_started(
    sweeps: Any, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "soon")
    done = sweeps("run", "fcn_digits", "--name", "mine")
    assert done.code == 2
    assert done.err.startswith(f"{variable}: must be a number of seconds above 0, but got 'soon'. Write for example ")
    assert sweeps.files() == []

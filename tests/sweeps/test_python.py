"""The object `Sweep`: reading with real files, running with stand-ins for a session."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from search_spaces.space import SearchSpace
from sweeps import Sweep, confirm, run
from sweeps.driver.options import Options
from sweeps.errors import SweepError
from sweeps.store.lease import write_session
from sweeps.store.paths import SweepPaths

Row = dict[str, Any]
WriteSweep = Callable[..., SweepPaths]
Calls = list[tuple[str, SearchSpace, Options]]

POINTS = {0: (0.95, 0.4), 1: (0.94, 0.1), 2: (0.70, 0.05), 3: (0.60, 0.30)}
"""Validation accuracy and remaining weights; all but the last are the front, 1 is its knee."""


@pytest.fixture
def swept(tmp_path: Path, ended_row: Callable[..., Row], write_sweep: WriteSweep) -> Sweep:
    rows = [ended_row(trial, val_accuracy=a, remaining=r) for trial, (a, r) in POINTS.items()]
    write_sweep(tmp_path, [*rows, ended_row(4, "failed")])
    return Sweep.open(tmp_path, "small")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What sessions were begun; none of them trains."""
    made: Calls = []

    def begin(kind: str) -> Callable[..., Any]:
        def start(space: SearchSpace, options: Options, console: Console) -> Any:
            assert isinstance(console, Console)
            made.append((kind, space, options))
            return SimpleNamespace(state="finished")

        return start

    for kind in ("run", "resume"):
        monkeypatch.setattr(run, kind, begin(kind))
    return made


def test_it_reads_what_is_stored(swept: Sweep) -> None:
    assert (swept.name, swept.space.trials, str(swept)) == ("small", 6, f"Sweep('small', root='{swept.paths.root}')")
    assert swept.trials().num_rows == 5
    assert set(swept.trials(["state"]).column_names) == {"trial", "attempt", "state"}
    assert swept.epochs().num_rows == 10
    assert swept.epochs([3]).column("epoch").to_pylist() == [1, 2]
    assert swept.confirmations().num_rows == 0
    assert swept.front().column("trial").to_pylist() == [0, 1, 2]


def test_it_is_opened_by_root_and_name_in_two_ways(swept: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    root = swept.paths.root
    assert Sweep.open("small", root=root).paths == swept.paths
    assert Sweep.open(str(root), "small").paths == swept.paths
    monkeypatch.setenv("SWEEPS_ROOT", str(root))
    assert Sweep.open("small").paths == swept.paths


def test_the_knee_and_the_best_under_a_bound(swept: Sweep) -> None:
    assert swept.knee()["trial"] == 1
    assert swept.best("accuracy >= 0.94")["trial"] == 1
    assert swept.best("accuracy>=0.945")["trial"] == 0
    assert swept.best(" remaining <= 0.09 ")["trial"] == 2


@pytest.mark.parametrize("bound", ["accuracy", "accuracy <= 0.9", "accuracy >= 97", "front", "best:accuracy>=0.9"])
def test_what_is_no_bound_is_an_error_with_an_example(swept: Sweep, bound: str) -> None:
    with pytest.raises(SweepError) as raised:
        swept.best(bound)
    assert raised.value.message == (
        f"best: must be accuracy >= X or remaining <= X with X in [0, 1], but got {bound!r}. "
        "Write for example best('accuracy >= 0.975')."
    )


def test_a_bound_that_no_trial_keeps_is_named(swept: Sweep) -> None:
    with pytest.raises(SweepError, match=r"best\('accuracy >= 0.99'\): there must be .* val_accuracy >= 0.99, but"):
        swept.best("accuracy >= 0.99")


def test_the_report_is_written_with_other_sweeps_beside(
    swept: Sweep, ended_row: Callable[..., Row], write_sweep: WriteSweep
) -> None:
    write_sweep(swept.paths.root, [ended_row(0)], name="other")
    page = swept.report(beside=["other"])
    assert page == swept.paths.report
    assert '<td class="text">other</td>' in page.read_text()
    with pytest.raises(SweepError, match="sweep nothing: must exist under"):
        swept.report(beside=["nothing"])


def test_creating_writes_nothing(tmp_path: Path, small_space: Callable[..., SearchSpace]) -> None:
    (tmp_path / "mine.yaml").write_text(small_space(name="mine").to_yaml())
    root = tmp_path / "root"
    shipped = Sweep.create("fcn_digits", name="demo", root=root, changes=["fixed.epochs=3"])
    assert (shipped.name, shipped.space.name, shipped.space.fixed["epochs"]) == ("demo", "demo", 3)
    assert Sweep.create(tmp_path / "mine.yaml", root=root).name == "mine"
    assert Sweep.create(str(tmp_path / "mine.yaml"), name="yours", root=root).name == "yours"
    assert Sweep.create(small_space(), root=root).space == small_space()
    assert not root.exists()
    with pytest.raises(SweepError, match="sweep demo: must exist under"):
        shipped.trials()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"space": "fcn_digit"}, ("SPACE", "'fcn_digit'", "fcn_digits")),
        ({"space": "fcn_digits", "name": "../x"}, ("name", "'../x'")),
        ({"space": "fcn_digits", "name": "small"}, ("sweep small", "must be free", "Sweep.open('small')")),
        ({"space": "fcn_digits", "changes": ["fixed.epoch=1"]}, ("fixed.epoch", "epochs")),
    ],
)
def test_what_cannot_be_created_is_told(swept: Sweep, wrong: Row, said: tuple[str, ...]) -> None:
    with pytest.raises((SweepError, ValueError)) as raised:
        Sweep.create(**wrong, root=swept.paths.root)
    assert all(part in str(raised.value) for part in said), raised.value


def test_a_search_space_is_not_changed_by_texts(small_space: Callable[..., SearchSpace]) -> None:
    with pytest.raises(SweepError, match=r"changes: .*\['fixed.epochs=3'\].*dataclasses.replace"):
        Sweep.create(small_space(), changes=["fixed.epochs=3"])


def test_a_new_sweep_is_run_and_an_existing_one_resumed(tmp_path: Path, calls: Calls, write_sweep: WriteSweep) -> None:
    sweep = Sweep.create("fcn_digits", name="small", root=tmp_path)
    sweep.run(trials=12, lanes=4, address="auto", storage="postgresql://user@host/sweeps")
    kind, space, options = calls.pop()
    assert (kind, space.trials, sweep.space.trials) == ("run", 12, 12)
    assert (options.lanes, options.address, options.storage) == (4, "auto", "postgresql://user@host/sweeps")
    paths = write_sweep(tmp_path, [])
    write_session(paths, {"state": "finished", "options": {"tracking_uri": "http://a", "checkpoint_seconds": 7.0}})
    sweep = Sweep.open(tmp_path, "small")
    assert sweep.run(console=Console(stderr=True)).state == "finished"
    kind, space, options = calls.pop()
    assert (kind, space, options.lanes) == ("resume", sweep.space, None)
    assert (options.tracking_uri, options.checkpoint_seconds) == ("http://a", 7.0)
    sweep.run(9, tracking_uri="http://b")
    kind, space, options = calls.pop()
    assert (kind, space.trials, sweep.space.trials, options.tracking_uri) == ("resume", 9, 9, "http://b")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 5}, ("--trials", "at least 6", "'5'")),
        ({"lanes": 0}, ("--lanes", "0", "16")),
        ({"packs": 0}, ("--packs", "0", "Leave it out")),
        ({"gpus_per_pack": -1}, ("--gpus-per-pack", "-1", "Leave it out")),
        ({"warm_start": "other"}, ("--warm-start", "small exists", "Leave it out")),
    ],
)
def test_options_out_of_range_are_refused_as_on_the_command_line(
    swept: Sweep, calls: Calls, options: Row, said: tuple[str, ...]
) -> None:
    with pytest.raises(SweepError) as raised:
        swept.run(**options)
    assert all(part in raised.value.message for part in said), raised.value
    assert not calls


def test_a_new_sweep_needs_a_trial(tmp_path: Path, calls: Calls) -> None:
    with pytest.raises(SweepError, match="--trials: must be 1 or more, but got 0"):
        Sweep.create("fcn_digits", root=tmp_path).run(trials=0)
    assert not calls


def test_confirming_hands_on_what_is_asked(swept: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Row = {}

    def train_again(
        paths: SweepPaths, space: SearchSpace, options: Options, console: Console, **which: Any
    ) -> list[Any]:
        asked.update(which, paths=paths, space=space, packs=options.packs, told=isinstance(console, Console))
        return []

    monkeypatch.setattr(confirm, "confirm", train_again)
    assert swept.confirm("knee", seeds=3, packs=2) == []
    assert asked == {
        "paths": swept.paths, "space": swept.space, "packs": 2, "told": True, "select": "knee", "seeds": 3,
    }  # fmt: skip
    with pytest.raises(SweepError, match="--seeds: must be 1 or more, but got 0"):
        swept.confirm(seeds=0)


def test_reading_loads_neither_ray_nor_mlflow_nor_torch(swept: Sweep) -> None:
    code = (
        "import sys, sweeps; assert 'pyarrow' not in sys.modules; from sweeps import Sweep; "
        "assert 'moocore' not in sys.modules; s = Sweep.open(*sys.argv[1:]); s.trials(); s.epochs(); s.front(); "
        "s.confirmations(); s.knee(); s.best('accuracy >= 0.9'); s.space; s.report(); "
        "print([name for name in ('ray', 'mlflow', 'torch') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(swept.paths.root), "small"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "[]"

"""A dry run refuses what the run would refuse, and says what it would take."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search_spaces.space import Sampler, SearchSpace
from sweeps.driver import preview
from sweeps.driver.options import Options
from sweeps.driver.plan import STARTING_SECONDS, Estimate
from sweeps.store.paths import SweepPaths

EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]


def test_a_warm_start_that_the_run_would_refuse_is_refused(
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    root = sweeps.folder / "sweeps-out"
    write_sweep(root, [ended_row(0)])
    messages = {
        "smal": f"sweep smal: must exist under {root}, but there is no such folder. ",
        "small": "--warm-start small: some finished trial must lie in the new search space, but none does ",
        "../x": "--warm-start: must be 1 to 100 letters",
    }
    for name, message in messages.items():
        real, dry = (sweeps("run", "fcn_digits", "--warm-start", name, *words) for words in ([], ["--dry-run"]))
        assert dry == real
        assert (dry.code, dry.out) == (2, "")
        assert dry.err.startswith(message)


def test_what_the_sampler_would_know_is_told_and_is_no_part_of_the_json(
    tmp_path: Path, small_space: Callable[..., SearchSpace], ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    space = replace(small_space(), sampler=Sampler("tpe", 0))
    row = ended_row(0, **{**space.fixed, "pruning_rate": 0.4, "learning_rate": 0.1})
    write_sweep(tmp_path, [row], name="other")
    found = preview.look(space, Options(root=tmp_path, warm_start="other"))
    assert found.learned
    assert set(preview.record(found)) == {"space", "samples", "plan", "measured_first", "estimate"}
    assert "\nwarm start: 1 of 1 finished trials of other\n" in shown(found)


def test_a_grid_says_its_size_and_shows_its_first_trials(
    tmp_path: Path, small_space: Callable[..., SearchSpace]
) -> None:
    found = preview.look(replace(small_space(), sampler=Sampler("grid", 0), trials=4), Options(root=tmp_path))
    assert preview.record(found)["grid_size"] == 9
    assert "\ngrid:     9 combinations\n" in shown(found)
    assert "4 first trials" in shown(found)


@pytest.mark.parametrize(("compiled", "included"), [(False, "starting"), (True, "starting and compiling")])
def test_the_time_includes_what_comes_before_training(
    tmp_path: Path, small_space: Callable[..., SearchSpace], *, compiled: bool, included: str
) -> None:
    found = preview.look(small_space(), Options(root=tmp_path))
    assert found.learned is None
    assert found.estimate.seconds > STARTING_SECONDS
    text = shown(replace(found, estimate=Estimate(72.0, 2**20, 0.001, compiled=compiled)))
    assert f"\ntime:     about 1 min 12 s on this machine, {included} included (1.00 ms a lane and step, " in text


def shown(found: preview.Preview) -> str:
    """What a terminal shows of it."""
    console = Console(file=io.StringIO(), width=200)
    preview.show(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()

"""The report as its command writes it, and what it says in words."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from sweeps import report, report_tables
from sweeps.arguments import space_of
from sweeps.paths import SweepPaths
from sweeps.results import trials_table

Row = dict[str, Any]


def test_command_writes_one_file_and_prints_its_place(
    sweeps: Any, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(k) for k in range(3)])
    done = sweeps("report", "small")
    assert (done.code, done.out, done.err) == (0, f"{paths.report}\n", "")
    text = paths.report.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert [path for path in sweeps.files() if ".tmp" in path] == []


def test_open_starts_a_browser_or_says_that_there_is_none(
    sweeps: Any,
    monkeypatch: pytest.MonkeyPatch,
    ended_row: Callable[..., Row],
    write_sweep: Callable[..., SweepPaths],
) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    opened = list[str]()
    monkeypatch.setattr("webbrowser.open", opened.append)
    done = sweeps("report", "small", "--open")
    assert opened == [paths.report.as_uri()]
    assert (done.code, done.err) == (0, f"no browser could be started: open {paths.report} yourself\n")


def test_a_sweep_that_is_not_there_is_an_error_and_nothing_is_written(
    sweeps: Any, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    done = sweeps("report", "small", "--beside", "smal")
    assert done.code == 2
    assert done.err.startswith("sweep smal: must exist under ")
    assert "did you mean 'small'?" in done.err
    assert not paths.report.exists()


def test_a_report_that_fails_leaves_the_old_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_row: Callable[..., Row],
    write_sweep: Callable[..., SweepPaths],
) -> None:
    paths = write_sweep(tmp_path, [ended_row(0)])
    report.write(paths, space_of(paths))
    before = paths.report.read_text()
    monkeypatch.setattr(report, "render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(paths, space_of(paths))
    assert paths.report.read_text() == before


def test_endings_are_counted_by_kind_and_named_by_their_first(ended_row: Callable[..., Row]) -> None:
    rows = [
        ended_row(0),
        ended_row(1, "failed", reason="diverged: train_loss is nan after epoch 1"),
        ended_row(2, "failed", reason="diverged: train_loss is inf after epoch 2"),
        ended_row(3, "stopped", reason="stopped after epoch 1: not among the best"),
        ended_row(4, "failed", reason=None),
    ]
    assert report_tables.endings(trials_table(rows)) == [
        {"state": "failed", "count": 2, "trial": 1, "reason": "diverged: train_loss is nan after epoch 1"},
        {"state": "failed", "count": 1, "trial": 4, "reason": "no reason was recorded"},
        {"state": "stopped", "count": 1, "trial": 3, "reason": "stopped after epoch 1: not among the best"},
    ]


def test_many_kinds_of_endings_are_summed_up(ended_row: Callable[..., Row]) -> None:
    rows = [ended_row(k, "failed", reason=f"kind {k}") for k in range(25)]
    found = report_tables.endings(trials_table(rows))
    assert len(found) == 21
    assert found[-1] == {"state": "", "count": 5, "trial": "", "reason": "5 further kinds of reason"}


def test_provenance_names_places_commits_and_seeds(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    rows = [ended_row(0), ended_row(1, host="there", device="cuda", commit="def", data_seed=3)]
    now = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    facts = dict(report_tables.provenance(trials_table(rows), small_space(), {"seconds": 75.0}, now))
    assert facts["when"] == "2026-01-02 03:04 UTC to 2026-01-02 03:04 UTC"
    assert facts["trained on"] == "here cpu float32 (1 trial); there cuda float32 (1 trial)"
    assert facts["commit"] == "abc (1 trial), def (1 trial)"
    assert (facts["seeds of trials"], facts["seeds of the data"]) == ("0 to 1", "0, 3")
    assert facts["sampler"] == "random, seed 0"
    assert re.match(r"2026-02-03 04:05 UTC, with Python 3\.", facts["report written"])


def test_provenance_of_nothing(small_space: Callable[..., SearchSpace]) -> None:
    facts = dict(report_tables.provenance(trials_table([]), small_space(), {"seconds": 0.0}, datetime.now(UTC)))
    assert [facts[name] for name in ("when", "trained on", "commit", "seeds of trials")] == ["- to -", "-", "-", "-"]


def test_front_of_many_members_is_thinned_and_says_how_many_are_left_out(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    members = trials_table(ended_row(k) for k in range(250))
    found = report_tables.front_table(members, small_space(), recommended=249)
    assert (len(found["rows"]), found["left_out"]) == (100, 150)
    assert [found["rows"][place]["trial"] for place in (0, -1)] == [0, 249]
    assert [row["trial"] for row in found["rows"] if row["best"]] == [249]
    assert found["headings"] == [*("val accuracy %", "remaining %", "test accuracy %", "pruning rate", "learning rate")]
    assert found["rows"][0]["cells"][:3] == ["90.00", "50.00", "88.00"]

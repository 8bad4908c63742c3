"""The report as its command writes it, and what it says in words."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from sweeps.analysis.recommendation import recommend
from sweeps.confirmations import CONFIRMATIONS
from sweeps.figures import kept_mask
from sweeps.objectives import Objectives
from sweeps.report import answer, document, tables
from sweeps.results import trials_table
from sweeps.store import parts
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from tests.sweeps.conftest import last_networks, network_table
from tests.sweeps.heartbeats import beat

Row = dict[str, Any]
DEFAULT = {"val_accuracy": "maximize", "remaining": "minimize"}


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
    assert sweeps("report", "small", "--beside", "../x").err.startswith("--beside: must be 1 to 100 letters")
    assert not paths.report.exists()


def test_more_sweeps_than_can_be_told_apart_are_refused(
    sweeps: Any, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    for name in ("small", *"abcd"):
        write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)], name=name)
    done = sweeps("report", "small", *(word for name in "abcd" for word in ("--beside", name)))
    assert done.code == 2
    assert done.err == "--beside: at most 3 sweeps can be told apart, but got 4. Leave some out.\n"


def test_a_sweep_beside_it_must_ask_the_same_and_what_else_differs_is_said(
    sweeps: Any, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    root = sweeps.folder / "sweeps-out"
    paths = write_sweep(root, [ended_row(0)])
    write_sweep(root, [ended_row(0)], name="losses", objectives={"val_loss": "minimize", "remaining": "minimize"})
    done = sweeps("report", "small", "--beside", "losses")
    assert (done.code, done.err) == (2, sweeps("compare", "small", "losses").err)
    assert not paths.report.exists()
    write_sweep(root, [ended_row(0, epochs=3)], name="longer")
    assert sweeps("report", "small", "--beside", "longer").code == 0
    assert "they differ in epochs: small has 2, longer has 3" in paths.report.read_text()
    write_sweep(root, [ended_row(trial) for trial in range(3)], name="more")
    sweeps("report", "small", "--beside", "more")
    assert "leans against small, which has networks of fewer trials (1 against 3)" in paths.report.read_text()


def test_a_report_that_fails_leaves_the_old_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_row: Callable[..., Row],
    write_sweep: Callable[..., SweepPaths],
) -> None:
    paths = write_sweep(tmp_path, [ended_row(0)])
    document.write(StoredSweep.at(paths))
    before = paths.report.read_text()
    monkeypatch.setattr(document, "render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        document.write(StoredSweep.at(paths))
    assert paths.report.read_text() == before


def test_endings_are_counted_by_kind_and_named_by_their_first(ended_row: Callable[..., Row]) -> None:
    rows = [
        ended_row(0),
        ended_row(1, "failed", reason="diverged: train_loss is nan after epoch 1"),
        ended_row(2, "failed", reason="diverged: train_loss is inf after epoch 2"),
        ended_row(3, "stopped", reason="stopped after epoch 1: not among the best"),
        ended_row(4, "failed", reason=None),
    ]
    assert tables.endings(trials_table(rows)) == [
        {"state": "failed", "count": 2, "trial": 1, "reason": "diverged: train_loss is nan after epoch 1"},
        {"state": "failed", "count": 1, "trial": 4, "reason": "no reason was recorded"},
        {"state": "stopped", "count": 1, "trial": 3, "reason": "stopped after epoch 1: not among the best"},
    ]


def test_many_kinds_of_endings_are_summed_up(ended_row: Callable[..., Row]) -> None:
    rows = [ended_row(k, "failed", reason=f"kind {k}") for k in range(25)]
    found = tables.endings(trials_table(rows))
    assert len(found) == 21
    assert found[-1] == {"state": "", "count": 5, "trial": "", "reason": "5 further kinds of reason"}


def test_provenance_names_places_commits_and_seeds(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    rows = [ended_row(0), ended_row(1, host="there", device="cuda", commit="def", data_seed=3)]
    now = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    facts = dict(tables.provenance(trials_table(rows), small_space(), {"seconds": 75.0}, now))
    assert facts["when"] == "2026-01-02 03:04 UTC to 2026-01-02 03:04 UTC"
    assert facts["trained on"] == "here cpu float32 (1 trial); there cuda float32 (1 trial)"
    assert facts["commit"] == "abc (1 trial), def (1 trial)"
    assert (facts["seeds of trials"], facts["seeds of the data"]) == ("0 to 1", "0, 3")
    assert facts["sampler"] == "random, seed 0"
    assert re.match(r"2026-02-03 04:05 UTC, with Python 3\.", facts["report written"])


def test_provenance_of_nothing(small_space: Callable[..., SearchSpace]) -> None:
    facts = dict(tables.provenance(trials_table([]), small_space(), {"seconds": 0.0}, datetime.now(UTC)))
    assert [facts[name] for name in ("when", "trained on", "commit", "seeds of trials")] == ["- to -", "-", "-", "-"]


def test_front_of_many_members_is_thinned_and_says_how_many_are_left_out(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    members = network_table(ended_row(k, estimate=0.85) for k in range(250))
    found = tables.front_record(members, small_space(), recommended=(249, 2))
    assert (len(found["rows"]), found["left_out"]) == (100, 150)
    assert [found["rows"][place]["name"] for place in (0, -1)] == ["0@2", "249@2"]
    assert [row["name"] for row in found["rows"] if row["best"]] == ["249@2"]
    assert found["headings"] == [
        *("estimate %", "val accuracy %", "remaining %", "test accuracy %", "pruning rate", "learning rate")
    ]
    assert found["rows"][0]["cells"][:4] == ["85.00 ± 1.00", "90.00", "50.00", "88.00"]
    other_epoch = tables.front_record(members, small_space(), recommended=(249, 1))
    assert not any(row["best"] for row in other_epoch["rows"])


def answered(paths: SweepPaths, rows: list[Row], confirmed: list[Row] | None = None) -> Row:
    """What a report answers for the last networks of these trials."""
    table = None if confirmed is None else confirmations_table(confirmed)
    sweep = StoredSweep.at(paths)
    return answer.answer(sweep, recommend(last_networks(rows), trials_table(rows), sweep.space, table))


def confirmations_table(rows: list[Row]) -> Any:
    return parts.table(rows, CONFIRMATIONS, keys=("trial", "epoch", "seed_index"), where="confirm")


def test_the_answer_is_a_network_its_numbers_and_what_to_do_next(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_row: Callable[..., Row],
    write_sweep: Callable[..., SweepPaths],
) -> None:
    monkeypatch.setenv("SWEEPS_ROOT", str(tmp_path))
    rows = [
        ended_row(0, val_accuracy=0.95, remaining=0.4, pruning_rate=0.3),
        ended_row(1, val_accuracy=0.95, estimate=0.94, remaining=0.1, pruning_rate=0.6),
        ended_row(2, val_accuracy=0.70, remaining=0.05, pruning_rate=0.9),
    ]
    found = answered(write_sweep(tmp_path, rows), rows)
    assert (found["name"], found["headline"]) == ("1@2", "Take network 1@2, initial pruning rate 0.60")
    assert found["figures"] == [
        ("initial pruning rate", "0.60", "no near-equal trial to compare it with"),
        ("remaining weights", "10.00 %", "one run, one seed: no interval"),
        ("validation accuracy", "94.00 %", "± 1.00 %, an estimate; that epoch's own is 95.00 %"),
    ]
    assert found["reasons"] == [
        "Chosen as the knee of the front: beyond it, fewer weights cost accuracy fast. It is trial 1 after epoch 2: "
        "training it ends there.",
        "It was trained with one seed, so part of its numbers may be luck: confirm it before you believe it.",
    ]
    assert found["commands"] == [
        ("confirm it", "sweeps confirm small --select 1@2 --seeds 10"),
        ("train it again", "sweeps train small:1@2"),
        ("export it", "sweeps export small:1@2 --to torch"),
        ("ask for more accuracy", "sweeps pareto small --min accuracy=0.95"),
    ]


def test_confirmed_numbers_come_first_with_their_intervals(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    rows = [ended_row(0, pruning_rate=0.3)]
    again = [
        {"trial": 0, "epoch": 2, "seed_index": k, "state": "finished", "network": "fcn", "dataset": "digits"}
        | {"test_accuracy": accuracy, "val_accuracy": 0.9, "remaining": 0.5}
        for k, accuracy in enumerate((0.90, 0.91, 0.92))
    ]
    found = answered(write_sweep(tmp_path / "a folder", rows), rows, again)
    # t(0.975, 2) = 4.303 and the standard deviation is 0.01: 0.91 +- 0.0248
    assert found["figures"][1] == (
        *("test accuracy", "91.00 %", "95 % interval [88.52, 93.48] %, mean of 3 fresh seeds"),
    )
    assert found["figures"][3][:2] == ("validation accuracy", "90.00 %")
    assert len(found["reasons"]) == 1
    assert found["commands"][0] == ("train it again", f"sweeps train small:0@2 --root '{tmp_path}/a folder'")
    # One seed has no interval: it may be luck as well.
    found = answered(write_sweep(tmp_path / "one", rows), rows, again[:1])
    assert found["figures"][1] == ("test accuracy", "90.00 %", "mean of 1 fresh seed")
    assert "luck" in found["reasons"][1]
    assert found["commands"][0][0] == "confirm it"


def test_other_sweeps_are_compared_in_words(ended_row: Callable[..., Row]) -> None:
    own = [ended_row(0, val_accuracy=0.9, remaining=0.1), ended_row(1, val_accuracy=0.8, remaining=0.01)]
    objectives = Objectives(DEFAULT)

    def compared(row: Row) -> Row:
        others = {"other": (last_networks([row]), trials_table([row]))}
        trials = trials_table(own)
        (found,) = tables.comparisons(last_networks(own), others, name="small", trials=trials, objectives=objectives)
        return found

    found = compared(ended_row(0, val_accuracy=0.86, remaining=0.01))
    assert found["name"] == "other"
    # 8/9 of a third of the decades and 7/9 of another third, against 7.6/9 of two thirds
    assert found["volumes"] == ["0.5556", "0.5630"]
    assert found["difference"].startswith("-0.0074 [")
    assert found["where"] == ["1 to 10 % remaining: other, by 6", "10 to 100 % remaining: small, by 4"]
    assert found["more"] == 0
    found = compared(ended_row(0, val_accuracy=0.95, remaining=1.0))
    assert found["where"] == ["1 to 100 % remaining: small alone has networks", "100 % remaining: other, by 5"]


def test_the_hypervolume_is_described_by_the_sweep_s_own_objectives() -> None:
    assert tables.hypervolume_text(Objectives(DEFAULT)) == (
        "What all networks dominate by their estimates, constraints aside: from 0 for validation accuracy 10 % and "
        "remaining weights 100 % to 1 for validation accuracy 100 % and remaining weights 0.1 %; remaining in factors "
        "of ten. While it rises, more trials help."
    )
    linear = Objectives(DEFAULT, scales={"remaining": "linear"}, classes=100)
    assert tables.hypervolume_text(linear) == (
        "What all networks dominate by their estimates, constraints aside: from 0 for validation accuracy 1 % and "
        "remaining weights 100 % to 1 for validation accuracy 100 % and remaining weights 0 %. While it rises, more "
        "trials help."
    )
    assert tables.hypervolume_text(Objectives({"val_loss": "minimize"})) == (
        "What all networks dominate by their estimates, constraints aside: from 0 for validation loss 4.61 nats to 1 "
        "for validation loss 0 nats. While it rises, more trials help."
    )


@pytest.mark.parametrize("count", [49, 50])
def test_importances_or_from_when_on_there_are_some(
    count: int, tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    rows = [ended_row(k, val_accuracy=0.5 + k / 200, pruning_rate=0.1 + k / 100) for k in range(count)]
    paths = write_sweep(tmp_path, rows)
    page = document.write(StoredSweep.at(paths)).read_text()
    assert ("Importances appear from 50 trials on" in page) == (count < 50)
    assert ("Share of the importance (PED-ANOVA)" in page) == (count >= 50)


def test_a_damaged_mask_is_said_on_the_page_and_a_missing_one_as_well(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, [ended_row(0)])
    # Both epochs of the trial are equal: the first is on the front.
    assert "The mask of network 0@1 was not kept." in document.write(StoredSweep.at(paths)).read_text()
    paths.masks.mkdir()
    (paths.masks / "0-1.safetensors").write_bytes(b"nothing of the kind")
    assert "sweeps layers small:0@1" in document.write(StoredSweep.at(paths)).read_text()
    page = document.write(StoredSweep.at(paths), draw_mask=kept_mask.draw).read_text()
    assert "0-1.safetensors: " in page
    (paths.masks / "0-1.png").write_bytes(b"a picture")
    assert "data:image/png;base64,YSBwaWN0dXJl" in document.write(StoredSweep.at(paths)).read_text()


def test_a_driver_writes_its_last_report_while_its_session_file_still_says_that_it_runs(
    tmp_path: Path, ended_row: Callable[..., Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, [ended_row(0)])
    beat(paths, "running")
    assert "The sweep is still running." in document.write(StoredSweep.at(paths)).read_text()
    document.renew(StoredSweep.at(paths), state="finished")
    assert "The sweep is still running." not in paths.report.read_text()


def test_a_fault_of_the_report_is_logged_and_no_old_one_stays(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ended_row: Callable[..., Row],
    write_sweep: Callable[..., SweepPaths],
) -> None:
    paths = write_sweep(tmp_path, [ended_row(0)])
    space = StoredSweep.at(paths).space
    document.renew(StoredSweep(paths, space))
    assert paths.report.exists()
    document.renew(StoredSweep(paths, replace(space, objectives={"no_metric": "maximize"})))
    assert not paths.report.exists()
    (message,) = caplog.messages
    assert message == f"the report could not be written; try again: sweeps report small{paths.root_option}"

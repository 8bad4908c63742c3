import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search_spaces.space import CategoricalDistribution, Constraint, Parameter, Sampler, SearchSpace
from sweeps.errors import SweepError
from sweeps.search.study import SweepStudy

REPOSITORY = Path(__file__).resolve().parents[3]
Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]


def stored(space: SearchSpace, journal: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials as Optuna itself reads them from the file."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.load_study(study_name=space.name, storage=storage).get_trials()


def ask_and_tell(study: SweepStudy, rounds: int, ended_row: EndedRow) -> list[dict[str, Any]]:
    """Asks one trial at a time, and tells a result that follows from its configuration."""
    configs: list[dict[str, Any]] = []
    for _ in range(rounds):
        asked = study.ask()
        config = asked.config.to_dict()
        quality = 1 - abs(math.log10(config["learning_rate"]) + 1) / 3 - config["pruning_rate"] / 5
        study.tell([ended_row(asked.number, val_accuracy=quality, remaining=1 - config["pruning_rate"])])
        configs.append(config)
    return configs


_ELSEWHERE = """
import json, math, sys
from pathlib import Path
from search_spaces.load import load
from sweeps.search.study import METRICS, SweepStudy
study = SweepStudy(load(sys.argv[1]), Path(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    asked = study.ask()
    config = asked.config.to_dict()
    quality = 1 - abs(math.log10(config["learning_rate"]) + 1) / 3 - config["pruning_rate"] / 5
    values = dict.fromkeys(METRICS, 0.5) | {"val_accuracy": quality, "estimate": quality}
    values["remaining"] = 1 - config["pruning_rate"]
    study.tell([{"trial": asked.number, "state": "finished", "reason": None, "attempt": 1, **values}])
    print(json.dumps(config))
"""


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_same_seed_samples_the_same_trials_in_a_fresh_process(
    tmp_path: Path, small_space: Space, ended_row: EndedRow, sampler: str
) -> None:
    space = small_space(sampler=Sampler(sampler, 7))
    (tmp_path / "space.yaml").write_text(space.to_yaml())
    command = [sys.executable, "-c", _ELSEWHERE, str(tmp_path / "space.yaml"), str(tmp_path / "there"), "14"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=100)
    there = [json.loads(line) for line in done.stdout.splitlines()]
    # 14 trials are past the 10 random ones that TPE starts with.
    here = ask_and_tell(SweepStudy(space, tmp_path / "here"), 14, ended_row)
    assert here == there
    other = ask_and_tell(SweepStudy(small_space(sampler=Sampler(sampler, 8)), tmp_path / "other"), 3, ended_row)
    assert not [config for config in other if config["learning_rate"] in {row["learning_rate"] for row in here}]


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "gp", "qmc"])
def test_every_sampler_works_with_two_objectives(
    tmp_path: Path, small_space: Space, ended_row: EndedRow, sampler: str
) -> None:
    space = small_space(sampler=Sampler(sampler, 1), constraints=(Constraint("val_accuracy", ">=", 0.5),))
    configs = ask_and_tell(SweepStudy(space, tmp_path / "journal"), 15, ended_row)
    assert len({config["learning_rate"] for config in configs}) == 15
    assert all(0.005 <= config["learning_rate"] <= 1 and 0.05 <= config["pruning_rate"] <= 0.95 for config in configs)
    assert [config["seed"] for config in configs] == [1_000_000 + number for number in range(15)]
    trials = stored(space, tmp_path / "journal")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 15


@pytest.mark.parametrize("sampler", ["random", "grid", "qmc"])
def test_a_sampler_that_does_not_learn_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, small_space: Space, ended_row: EndedRow, sampler: str
) -> None:
    space = small_space(sampler=Sampler(sampler, 3))
    whole = ask_and_tell(SweepStudy(space, tmp_path / "whole"), 9, ended_row)
    parts = [
        config
        for rounds in (4, 0, 1, 4)
        for config in ask_and_tell(SweepStudy(space, tmp_path / "parts"), rounds, ended_row)
    ]
    assert parts == whole


@pytest.mark.parametrize(
    ("state", "told", "values"),
    [
        ("finished", TrialState.COMPLETE, [0.75, math.log10(0.25)]),
        ("stopped", TrialState.PRUNED, None),
        ("failed", TrialState.FAIL, None),
    ],
)
def test_optuna_sees_how_a_trial_ended(
    tmp_path: Path, small_space: Space, ended_row: EndedRow, *, state: str, told: TrialState, values: list[float] | None
) -> None:
    space = small_space()
    study = SweepStudy(space, tmp_path / "journal")
    asked = study.ask()
    study.tell([ended_row(asked.number, state, val_accuracy=0.75, remaining=0.25)])
    (trial,) = stored(space, tmp_path / "journal")
    assert (trial.state, trial.values) == (told, values)
    (again,) = study.trials()
    assert (again.state, again.config) == (state, asked.config.to_dict())
    assert again.values == (values or [])
    assert again.result["reason"] == ended_row(0, state)["reason"]
    assert study.open_trials() == []


def test_a_lane_that_failed_without_metrics_is_told_too(
    tmp_path: Path, small_space: Space, ended_row: EndedRow
) -> None:
    study = SweepStudy(small_space(), tmp_path / "journal")
    row = ended_row(study.ask().number, "failed") | dict.fromkeys(("val_accuracy", "remaining"))
    study.tell([row | {"train_loss": math.nan}])
    (found,) = SweepStudy(small_space(), tmp_path / "journal").trials()
    assert found.state == "failed"
    assert found.result["val_accuracy"] is None
    assert math.isnan(found.result["train_loss"])


def test_constraints_are_stored_as_how_far_they_are_missed(
    tmp_path: Path, small_space: Space, ended_row: EndedRow
) -> None:
    space = small_space(constraints=(Constraint("val_accuracy", ">=", 0.75), Constraint("remaining", "<=", 0.5)))
    study = SweepStudy(space, tmp_path / "journal")
    for accuracy, remaining in ((0.75, 0.25), (0.25, 0.75)):
        study.tell([ended_row(study.ask().number, val_accuracy=accuracy, remaining=remaining)])
    kept, missed = (trial.constraints for trial in stored(space, tmp_path / "journal"))
    assert kept == {"val_accuracy >= 0.75": 0.0, "remaining <= 0.5": -0.25}
    assert missed == {"val_accuracy >= 0.75": 0.5, "remaining <= 0.5": 0.25}


def test_telling_an_ended_or_unknown_trial_changes_nothing(
    tmp_path: Path, small_space: Space, ended_row: EndedRow
) -> None:
    study = SweepStudy(small_space(), tmp_path / "journal")
    row = ended_row(study.ask().number)
    study.tell([row])
    before = study.trials()
    study.tell([row | {"state": "failed", "val_accuracy": 0.1}])
    study.tell([ended_row(17)])
    reopened = SweepStudy(small_space(), tmp_path / "journal")
    reopened.tell([row | {"state": "stopped"}])
    assert study.trials() == reopened.trials() == before


def test_a_new_session_finds_the_open_trials(tmp_path: Path, small_space: Space, ended_row: EndedRow) -> None:
    study = SweepStudy(small_space(), tmp_path / "journal")
    asked = [study.ask() for _ in range(4)]
    study.start({0: 1, 2: 1})
    study.start({2: 2})
    study.tell([ended_row(1)])
    reopened = SweepStudy(small_space(), tmp_path / "journal")
    assert reopened.asked == 4
    found = reopened.open_trials()
    assert [(trial.number, trial.attempts) for trial in found] == [(0, 1), (2, 2), (3, 0)]
    assert [trial.config for trial in found] == [asked[number].config for number in (0, 2, 3)]
    assert reopened.ask().number == 4
    for number in (0, 2, 3, 4):
        reopened.tell([ended_row(number)])
    assert [trial.state for trial in reopened.trials()] == ["finished"] * 5


def test_a_searched_seed_is_not_overwritten(tmp_path: Path, small_space: Space) -> None:
    space = small_space(fixed={"dataset": "digits", "seed": 5})
    assert [SweepStudy(space, tmp_path / "journal").ask().config.seed for _ in range(2)] == [5, 5]


def test_a_journal_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path, small_space: Space) -> None:
    journal = tmp_path / "missing" / "study.journal"
    with pytest.raises(SweepError) as raised:
        SweepStudy(small_space(), journal)
    assert raised.value.message == (
        f"{journal}: the study must be readable and writable, but [Errno 2] No such file or directory: "
        f"'{journal}'. Check the folder's permissions."
    )
    assert raised.value.exit_code == 2


def test_a_line_that_a_crash_left_unfinished_is_cut_off(tmp_path: Path, small_space: Space) -> None:
    journal = tmp_path / "journal"
    study = SweepStudy(small_space(), journal)
    asked = [study.ask() for _ in range(3)]
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":5,"worker_id":"dead')
    os.utime(journal, (0, 0))
    reopened = SweepStudy(small_space(), journal)
    assert [trial.config for trial in reopened.open_trials()] == [trial.config for trial in asked]
    reopened.ask()
    assert SweepStudy(small_space(), journal).asked == 4


def test_a_line_that_another_process_is_writing_is_waited_for(
    tmp_path: Path, small_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal"
    SweepStudy(small_space(), journal).ask()
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    monkeypatch.setattr("sweeps.search.journal.time.sleep", lambda _: journal.write_bytes(whole))
    assert SweepStudy(small_space(), journal).asked == 1
    assert journal.read_bytes().startswith(whole)


def test_a_file_that_is_no_journal_is_an_error_that_names_it(tmp_path: Path, small_space: Space) -> None:
    journal = tmp_path / "journal"
    journal.write_text("lane 1\nlane 2\n")
    with pytest.raises(SweepError, match=r"journal: must be a journal of Optuna, but got: .* Restore the file"):
        SweepStudy(small_space(), journal)


def test_opening_a_study_again_writes_nothing(tmp_path: Path, small_space: Space, ended_row: EndedRow) -> None:
    ask_and_tell(SweepStudy(small_space(), tmp_path / "journal"), 3, ended_row)
    before = (tmp_path / "journal").read_bytes()
    assert len(SweepStudy(small_space(), tmp_path / "journal").trials()) == 3
    assert (tmp_path / "journal").read_bytes() == before


def test_a_lost_trial_whose_gain_rule_was_drawn_is_restored(
    tmp_path: Path, small_space: Space, ended_row: EndedRow
) -> None:
    space = small_space(parameters={"gain_rule": Parameter(CategoricalDistribution(["elu", "elus"]))})
    rows = [ended_row(trial) | SweepStudy(space, tmp_path / "whole").ask().config.to_dict() for trial in range(4)]
    study = SweepStudy(space, tmp_path / "journal")
    study.restore(rows, {})
    assert [(trial.state, trial.config["gain_rule"]) for trial in study.trials()] == [
        ("finished", row["gain_rule"]) for row in rows
    ]

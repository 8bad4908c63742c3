"""The study's journal loses its end, at any byte: what has ended is known again from Parquet, and is not run again."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search_spaces.space import Sampler, SearchSpace
from sweeps import results
from sweeps.results import ResultsWriter, epochs_table, trials_table
from sweeps.search.study import SweepStudy
from sweeps.store.paths import SweepPaths
from tests.faults.soak import SOAK

Row = dict[str, Any]
TRIALS, OPEN = 24, (5, 11, 22, 23)
"""The last four of these are in training, two of them between ended ones, when the journal is cut."""
CUTS = 50 if SOAK else 4


@pytest.fixture
def sweep(
    tmp_path: Path,
    small_space: Callable[..., SearchSpace],
    ended_row: Callable[..., Row],
    epoch_rows: Callable[[Row], list[Row]],
) -> tuple[SearchSpace, SweepPaths]:
    """A sweep in the middle of its work, whose driver is gone; trial 22 is in its second attempt."""
    space = small_space(trials=40, sampler=Sampler("tpe", 3))
    paths = SweepPaths(tmp_path, space.name)
    writer = ResultsWriter(paths.folder)
    study = SweepStudy(space, paths.journal)
    rows = list[Row]()
    for number in range(TRIALS):
        trial = study.ask()
        study.start({number: 2 if number == 22 else 1})
        state = "stopped" if number % 7 == 3 else "failed" if number % 7 == 4 else "finished"
        row = ended_row(number, state) | trial.config.to_dict()
        if number in OPEN:
            begun = row | {"attempt": 2 if number == 22 else 1, "epochs_done": 1}
            writer.add_epochs(epochs_table(epoch_rows(begun)))
        else:
            rows.append(row)
            writer.add_epochs(epochs_table(epoch_rows(row)))
            study.tell([row])
    writer.add_trials(trials_table(rows))
    writer.flush()
    return space, paths


def test_a_journal_that_is_cut_at_any_byte_is_filled_again_from_parquet(
    sweep: tuple[SearchSpace, SweepPaths],
) -> None:
    space, paths = sweep
    whole = paths.journal.read_bytes()
    rows = results.load(paths.root, space.name).to_pylist()
    before = {trial.number: trial for trial in SweepStudy(space, paths.journal).trials()}
    for cut in [0, 1, len(whole) - 1, *(random.Random(1).randrange(len(whole)) for _ in range(CUTS))]:
        paths.journal.write_bytes(whole[:cut])
        study = SweepStudy(space, paths.journal)
        study.restore(rows, results.attempts(paths.root, space.name, first=study.first_open))
        again = SweepStudy(space, paths.journal)  # as it stands on disk
        found = {trial.number: trial for trial in again.trials()}
        assert sorted(found) == list(range(TRIALS)), cut
        for number in before.keys() - set(OPEN):
            assert found[number] == before[number], (cut, number)
        waiting = again.open_trials()
        assert [trial.number for trial in waiting] == list(OPEN), cut
        assert [trial.attempts for trial in waiting] == [1, 1, 2, 1], cut
        assert again.ask().number == TRIALS


def sampled(paths: SweepPaths) -> list[tuple[Row, Row]]:
    """What Optuna's samplers see of every trial."""
    storage = JournalStorage(JournalFileBackend(str(paths.journal)))
    study = optuna.load_study(study_name=paths.name, storage=storage)
    return [(trial.params, dict(trial.distributions)) for trial in study.trials]


def test_a_restored_trial_counts_for_the_sampler_as_the_one_it_was(sweep: tuple[SearchSpace, SweepPaths]) -> None:
    space, paths = sweep
    whole = paths.journal.read_bytes()
    frozen = sampled(paths)
    paths.journal.write_bytes(whole[: len(whole) // 3])
    study = SweepStudy(space, paths.journal)
    study.restore(results.load(paths.root, space.name).to_pylist(), {})
    restored = sampled(paths)
    assert len(restored) == TRIALS - 2  # the last two had not ended
    ended = [number for number in range(TRIALS) if number not in OPEN]
    assert [restored[number] for number in ended] == [frozen[number] for number in ended]

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.space import Sampler, SearchSpace
from sweeps.search import sampling
from sweeps.search.sampling import Sampling, choose

Space = Callable[..., SearchSpace]
OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}


def frozen(accuracy: float, remaining: float = 0.5, missed: float = 0.0) -> FrozenTrial:
    """A finished trial."""
    more: dict[str, Any] = {"values": [accuracy, remaining], "system_attrs": {"constraints:c": missed}}
    return create_trial(params={"x": remaining}, distributions={"x": FloatDistribution(0, 1)}, **more)


def places(finished: Sequence[FrozenTrial], limit: int, seed: int = 0) -> list[int]:
    chosen = choose(finished, OBJECTIVES, limit, np.random.default_rng(seed))
    return [next(place for place, trial in enumerate(finished) if trial is found) for found in chosen]


def test_few_trials_are_all_shown() -> None:
    finished = [frozen(0.5), frozen(0.4), frozen(0.6)]
    assert places(finished, 3) == [0, 1, 2]


def test_half_are_the_best_and_a_quarter_the_newest() -> None:
    # Accuracy 0.9 at 0.1 and 0.8 at 0.05 are the front; 0.95 misses a constraint; 0.7 at 0.1 is of the second rank.
    ended = [frozen(0.95, 0.01, missed=0.2), frozen(0.7, 0.1), frozen(0.9, 0.1), frozen(0.0), frozen(0.8, 0.05)]
    ended += [frozen(0.1, 0.9) for _ in range(15)]
    found = places(ended, 8)
    assert len(found) == 8
    assert {1, 2, 4} <= set(found)
    assert {18, 19} <= set(found)
    assert 0 not in places(ended[:5], 2)
    assert found == sorted(found)
    assert found == places(ended, 8)
    assert {tuple(places(ended, 8, seed)) for seed in range(20)} != {tuple(found)}


@pytest.fixture
def history(small_space: Space) -> list[FrozenTrial]:
    """40 finished trials, two stopped ones and two in training, as a study keeps them."""
    draws, trials = Sampling(small_space()), list[FrozenTrial]()
    for number in range(44):
        drawn = draws.draw(number, list)
        rate = drawn.params["learning_rate"]
        ends: dict[str, Any] = {"values": [1 - abs(math.log10(rate) + 1), 0.5]}
        if number >= 40:
            ends = {"state": TrialState.PRUNED if number < 42 else TrialState.RUNNING}
        trials.append(create_trial(params=drawn.params, distributions=drawn.distributions, **ends))
    return trials


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp"])
def test_a_sampler_is_shown_a_bounded_choice_and_what_is_running(
    small_space: Space, history: list[FrozenTrial], sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sampling.SHOWN, sampler, 12)
    shown: list[list[TrialState]] = []
    ask = sampling.optuna.Study.ask

    def looking(study: Any, *rest: Any) -> Any:
        shown.append([trial.state for trial in study.get_trials(deepcopy=False)])
        return ask(study, *rest)

    monkeypatch.setattr(sampling.optuna.Study, "ask", looking)
    draws = Sampling(small_space(sampler=Sampler(sampler, 1)))
    first, second = draws.draw(42, lambda: history), draws.draw(43, lambda: history)
    assert [(states.count(TrialState.COMPLETE), states.count(TrialState.RUNNING)) for states in shown] == [
        (12, 2),
        (12, 3),
    ]
    assert first.params != second.params


def test_the_same_history_gives_the_same_trial_and_a_longer_one_another(
    small_space: Space, history: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sampling.SHOWN, "tpe", 12)
    space = small_space(sampler=Sampler("tpe", 1))
    first, again = (Sampling(space).draw(42, lambda: history) for _ in range(2))
    assert first == again
    draws = Sampling(space)
    draws.draw(42, lambda: history)
    stale = draws.draw(43, lambda: history[:20])  # nothing has ended since: the history is not read again
    draws.renew()
    assert draws.draw(43, lambda: history[:20]) != stale


def test_what_ends_while_the_history_is_read_is_known_to_the_next_trial(
    small_space: Space, history: list[FrozenTrial]
) -> None:
    draws, read = Sampling(small_space(sampler=Sampler("tpe", 1))), list[int]()

    def reading(number: int) -> list[FrozenTrial]:
        read.append(number)
        if number == 42:
            draws.renew()  # as another thread does
        return history

    for number in (42, 43, 44):
        draws.draw(number, lambda number=number: reading(number))
    assert read == [42, 43]


def test_generations_go_on_under_the_bound(small_space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sampling.SHOWN, "nsga2", 220)
    draws, trials = Sampling(small_space(sampler=Sampler("nsga2", 1))), list[FrozenTrial]()
    for number in range(400):
        draws.renew()
        drawn = draws.draw(number, lambda: trials)
        values = [drawn.params["learning_rate"], drawn.params["pruning_rate"]]
        ends: dict[str, Any] = {"params": drawn.params, "distributions": drawn.distributions, "values": values}
        trials.append(create_trial(**ends, system_attrs=drawn.notes))
    (key,) = {name for trial in trials for name in trial.system_attrs if "generation" in name}
    assert [trial.system_attrs[key] for trial in trials] == [number // 50 for number in range(400)]
    # Both are best at their ends: accuracy is the learning rate here, and a small pruning rate is good.
    late = [trial.params["pruning_rate"] for trial in trials[-50:]]
    assert np.median(late) < np.median([trial.params["pruning_rate"] for trial in trials[:50]])

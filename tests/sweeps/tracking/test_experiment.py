import math
from typing import Any

import pytest
from sweeps.tracking.outbox import Row

from supermask.config import TrainConfig
from sweeps.tracking.experiment import EPOCH_METRICS, Experiment, add_confirmations
from tests.sweeps.memory_store import MemoryStore


def started(trial: int, *, attempt: int = 1, **fields: Any) -> Row:
    config = TrainConfig(epochs=3, **fields).to_dict()
    return Row("started", str(trial), {"trial": trial, "attempt": attempt, "state": "running", **config}, 1000)


def metrics(epoch: int) -> dict[str, float]:
    return {name: epoch + place / 10 for place, name in enumerate(EPOCH_METRICS)}


def epoch(trial: int, number: int, *, attempt: int = 1, **changed: float) -> Row:
    values = {"trial": trial, "attempt": attempt, "epoch": number, **metrics(number), **changed}
    return Row("epoch", str(trial), values, 1000 + number)


def ended(trial: int, *, attempt: int = 1, epochs_done: int | None = 3, state: str = "finished", **changed: Any) -> Row:
    final: dict[str, Any] = dict(metrics(epochs_done)) if epochs_done else dict.fromkeys(EPOCH_METRICS)
    test = 0.5 if epochs_done else None
    values = {**TrainConfig(epochs=3).to_dict(), **final, "test_loss": test, "test_accuracy": test, "seconds": 1.5}
    values |= {"trial": trial, "attempt": attempt, "epochs_done": epochs_done, "state": state, "reason": None}
    return Row("ended", str(trial), values | changed, 2000)


def whole(trial: int) -> list[Row]:
    return [started(trial), *(epoch(trial, number) for number in (1, 2, 3)), ended(trial)]


def steps(store: MemoryStore, run_id: str, metric: str = "val_loss") -> list[int]:
    return [step for step, _ in store.history(run_id, metric)]


def test_a_trial_is_one_run_below_the_sweeps_with_each_step_once() -> None:
    store = MemoryStore()
    Experiment(store, "s").apply(whole(7))
    parent, run = store.runs()
    assert parent.tags == {"role": "sweep", "sweep": "s", "state": "running"}
    assert run.tags["mlflow.parentRunId"] == parent.run_id
    assert run.run_id.startswith("trial-00007")
    for metric in EPOCH_METRICS:
        assert steps(store, run.run_id, metric) == [1, 2, 3]
    assert run.latest["test_accuracy"] == (3, 0.5)
    assert run.latest["epochs_done"] == (3, 3.0)
    assert run.params["learning_rate"] == "0.05"


def test_rows_that_come_again_change_nothing() -> None:
    store = MemoryStore()
    Experiment(store, "s").apply(whole(0))
    points = {run_id: list(points) for run_id, points in store.points.items()}
    Experiment(store, "s").apply(whole(0)[1:])
    assert store.points == points
    assert store.deleted == []


def test_a_session_goes_on_in_the_run_of_the_one_before() -> None:
    store = MemoryStore()
    waiting = Row("waiting", "0", {"trial": 0, "attempt": 1, "state": "waiting", "reason": "interrupted"}, 1500)
    Experiment(store, "s").apply([started(0), epoch(0, 1), waiting])
    Experiment(store, "s").apply([started(0), epoch(0, 1), epoch(0, 2), epoch(0, 3), ended(0)])
    (run_id,) = store.active(0)
    assert store.deleted == []
    assert steps(store, run_id) == [1, 2, 3]
    assert store.all[run_id].tags["reason"] == ""


def test_a_later_attempt_from_the_start_replaces_the_run() -> None:
    store = MemoryStore()
    experiment = Experiment(store, "s")
    experiment.apply([started(0), epoch(0, 1, val_loss=9.0), epoch(0, 2, val_loss=9.0)])
    (old,) = store.active(0)
    experiment.apply([started(0, attempt=2), *(epoch(0, n, attempt=2) for n in (1, 2, 3)), ended(0, attempt=2)])
    (new,) = store.active(0)
    assert store.deleted == [old]
    assert steps(store, new) == [1, 2, 3]
    assert store.history(new, "val_loss")[0] == (1, 1.1)
    assert store.all[new].tags["attempt"] == "2"


@pytest.mark.parametrize("is_told_at_once", [True, False])
def test_a_later_attempt_from_a_checkpoint_keeps_the_epochs_before_it(is_told_at_once: bool) -> None:
    store = MemoryStore()
    experiment = Experiment(store, "s")
    first = [started(0), epoch(0, 1), epoch(0, 2, val_loss=9.0)]
    second = [started(0, attempt=2), epoch(0, 2, attempt=2), epoch(0, 3, attempt=2), ended(0, attempt=2)]
    for rows in [[*first, *second]] if is_told_at_once else [first, second]:
        experiment.apply(rows)
    (run_id,) = store.active(0)
    assert store.history(run_id, "val_loss") == [(1, 1.1), (2, 2.1), (3, 3.1)]


def test_a_later_attempt_that_failed_at_once_shows_no_old_epochs() -> None:
    store = MemoryStore()
    experiment = Experiment(store, "s")
    experiment.apply([started(0), epoch(0, 1)])
    experiment.apply([started(0, attempt=2), ended(0, attempt=2, epochs_done=None, state="failed", reason="crashed")])
    (run_id,) = store.active(0)
    assert {name for name, *_ in store.points[run_id]} == {"seconds"}
    assert store.all[run_id].tags["reason"] == "crashed"


def test_late_rows_of_an_attempt_that_was_given_up_are_ignored() -> None:
    store = MemoryStore()
    Experiment(store, "s").apply([started(0, attempt=2), epoch(0, 1, attempt=1), epoch(0, 2, attempt=2)])
    (run_id,) = store.active(0)
    assert steps(store, run_id) == [2]


@pytest.mark.parametrize("changed", [{"val_loss": 8.0}, {"epochs_done": 2, **metrics(2)}])
def test_what_the_end_says_counts(changed: dict[str, Any]) -> None:
    store = MemoryStore()
    experiment = Experiment(store, "s")
    experiment.apply(whole(0)[:-1])
    experiment.apply([ended(0, **changed)])
    (run_id,) = store.active(0)
    last = changed.get("epochs_done", 3)
    assert steps(store, run_id) == list(range(1, last + 1))
    assert store.history(run_id, "val_loss")[-1] == (last, changed["val_loss"])


def test_a_trial_that_was_sampled_anew_does_not_lend_its_epochs() -> None:
    store = MemoryStore()
    Experiment(store, "s").apply(whole(0))
    Experiment(store, "s").apply([started(0, seed=5), epoch(0, 2)])
    (run_id,) = store.active(0)
    assert steps(store, run_id) == [2]
    assert store.all[run_id].params["seed"] == "5"


@pytest.mark.parametrize("rows", [whole(0)[:1], whole(0)[:3], whole(0)])
@pytest.mark.parametrize("first", [True, False])
def test_of_a_run_that_was_made_twice_the_one_that_was_filled_stays(rows: list[Row], *, first: bool) -> None:
    """A request to make a run that seemed to fail was carried out late; which of both is listed first is chance."""
    store = MemoryStore()
    Experiment(store, "s").apply(rows)
    filled = list(store.all)
    for run_id in filled:
        store.create(
            "late", {k: v for k, v in store.all[run_id].tags.items() if k != "state"} | {"state": "running"}, 0
        )
    if first:
        store.all = dict(sorted(store.all.items()))
        assert next(iter(store.all)).startswith("late")
    experiment = Experiment(store, "s")
    assert experiment.removed == 2
    assert [run.run_id for run in store.runs()] == filled
    experiment.apply(whole(0)[1:])
    assert steps(store, store.active(0)[0]) == [1, 2, 3]


def test_a_replacement_cut_short_leaves_one_run() -> None:
    store = MemoryStore()
    Experiment(store, "s").apply([started(0), epoch(0, 1)])
    (old,) = store.active(0)
    new = store.create("trial-00000", {**store.all[old].tags, "attempt": "2", "replaces": old}, 0)
    experiment = Experiment(store, "s")
    assert experiment.removed == 1
    assert store.active(0) == [new]
    experiment.apply([epoch(0, 2, attempt=2)])
    assert steps(store, new) == [1, 2]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named_and_left_out(value: float) -> None:
    store = MemoryStore()
    rows = [epoch(0, 1), epoch(0, 2, train_loss=value), epoch(0, 3, val_loss=value, train_loss=value)]
    final = ended(0, train_loss=value, val_loss=value, state="failed", reason="diverged")
    Experiment(store, "s").apply([started(0), *rows, final])
    (run_id,) = store.active(0)
    assert steps(store, run_id, "train_loss") == [1]
    assert steps(store, run_id, "remaining") == [1, 2, 3]
    assert store.all[run_id].tags["non_finite"] == "train_loss val_loss"
    assert store.deleted == []


def test_the_sweeps_parameters_may_grow() -> None:
    store = MemoryStore()
    first = Row("sweep", "sweep", {"params": {"trials": 8, "eta": 0.1}, "tags": {"commit": "abc"}}, 0)
    again = Row(
        "sweep",
        "sweep",
        {
            "params": {"trials": 16, "eta": 0.1},
        },
        0,
    )
    Experiment(store, "s").apply([first])
    Experiment(store, "s").apply([again])
    (run,) = store.runs()
    assert run.params == {"trials": "8", "eta": "0.1"}
    assert run.tags["trials"] == "16"
    assert run.tags["mlflow.source.git.commit"] == "abc"


def repair(store: MemoryStore, trial: int = 0, **changed: Any) -> bool:
    rows = [epoch(trial, number).values for number in (1, 2, 3)]
    return Experiment(store, "s").repair(ended(trial, **changed).values, rows)


def test_repair_leaves_an_equal_run_alone() -> None:
    store = MemoryStore()
    assert repair(store)
    assert not repair(store)
    Experiment(store, "s").apply(whole(1))
    assert not repair(store, 1)
    assert store.deleted == []


@pytest.mark.parametrize(
    ("rows", "is_replaced"),
    [
        ([started(0)], False),
        ([started(0), epoch(0, 1)], False),
        (whole(0)[:-1], False),
        ([started(0), epoch(0, 2)], True),
        ([started(0), epoch(0, 1, val_accuracy=0.123)], True),
        ([started(0, seed=1), epoch(0, 1)], True),
        ([started(0), epoch(0, 1), epoch(0, 2), epoch(0, 3), epoch(0, 4)], True),
        ([*whole(0)[:-1], ended(0, test_loss=0.25)], True),
        ([*whole(0)[:-1], ended(0, state="stopped")], False),
    ],
)
def test_repair_completes_or_replaces(rows: list[Row], is_replaced: bool) -> None:
    store = MemoryStore()
    Experiment(store, "s").apply(rows)
    assert repair(store)
    (run_id,) = store.active(0)
    assert bool(store.deleted) == is_replaced
    assert store.history(run_id, "val_loss") == [(1, 1.1), (2, 2.1), (3, 3.1)]
    assert store.history(run_id, "test_loss") == [(3, 0.5)]
    assert store.all[run_id].tags["state"] == "finished"
    assert not repair(store)


def test_repair_takes_the_last_attempt_of_each_epoch_and_none_after_the_end() -> None:
    store = MemoryStore()
    first = [epoch(0, n, val_loss=9.0).values for n in (1, 2, 3)]
    second = [epoch(0, 2, attempt=2).values]
    row = ended(0, attempt=2, epochs_done=2, state="failed", reason="diverged").values
    assert Experiment(store, "s").repair(row, [*second, *first])
    (run_id,) = store.active(0)
    assert store.history(run_id, "val_loss") == [(1, 9.0), (2, 2.1)]
    assert not Experiment(store, "s").repair(row, [*second, *first])


def test_repair_without_epochs_says_so() -> None:
    store = MemoryStore()
    row = ended(0, epochs_done=None, state="failed", reason="crashed").values
    assert Experiment(store, "s").repair(row, [])
    assert not Experiment(store, "s").repair(row, [])
    assert {name for name, *_ in store.points[store.active(0)[0]]} == {"seconds"}


def confirmation(seed_index: int, accuracy: float, state: str = "finished") -> dict[str, Any]:
    return {"seed_index": seed_index, "state": state, "test_accuracy": accuracy, "remaining": 0.02, "ended": None}


def test_confirmations_join_the_run_of_their_trial_once_and_survive_a_repair() -> None:
    store = MemoryStore()
    Experiment(store, "s").apply(whole(0))
    rows = [confirmation(0, 0.94), confirmation(1, 0.96), confirmation(2, 0.0, "failed")]

    def add() -> bool:
        (run,) = (run for run in store.runs() if run.tags["role"] == "trial")
        return add_confirmations(store, run, rows)

    assert add()
    (run_id,) = store.active(0)
    assert store.history(run_id, "confirm/test_accuracy") == [(0, 0.94), (1, 0.96)]
    assert store.history(run_id, "confirm/test_accuracy_mean") == [(2, pytest.approx(0.95))]
    assert store.history(run_id, "confirm/test_accuracy_std") == [(2, pytest.approx(0.02 / 2**0.5))]
    assert store.history(run_id, "confirm/remaining_low") == [(2, 0.02)]
    assert store.all[run_id].tags["confirmed"] == "2"
    assert not add()
    rows += [confirmation(seed, 0.95) for seed in range(3, 10)]  # steps beyond the trial's three epochs
    assert add()
    assert not add()
    assert store.all[run_id].tags["confirmed"] == "9"
    points = list(store.points[run_id])
    assert not repair(store)
    Experiment(store, "s").apply(whole(0)[1:])
    assert store.active(0) == [run_id]
    assert store.points[run_id] == points
    assert not add()


def test_one_confirmation_has_a_mean_only_and_failed_ones_add_nothing() -> None:
    store = MemoryStore()
    Experiment(store, "s").apply(whole(0))
    (run,) = (run for run in store.runs() if run.tags["role"] == "trial")
    assert not add_confirmations(store, run, [confirmation(0, 0.9, "failed")])
    assert add_confirmations(store, run, [confirmation(0, 0.9)])
    assert {name for name in store.all[run.run_id].latest if name.startswith("confirm/")} == {
        "confirm/test_accuracy", "confirm/test_accuracy_mean", "confirm/remaining", "confirm/remaining_mean",
    }  # fmt: skip

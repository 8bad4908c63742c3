import math
from collections.abc import Mapping
from typing import Any

import pytest

from supermask.config import TrainConfig
from sweeps.results import BEST
from sweeps.tracking.backlog import News, Offset
from sweeps.tracking.confirmed_runs import add_confirmations
from sweeps.tracking.experiment import OFFSET, Experiment
from sweeps.tracking.trajectory import EPOCH_METRICS
from tests.sweeps.memory_store import MemoryStore

Row = Mapping[str, Any]


def started(trial: int, *, attempt: int = 1, state: str = "running", **fields: Any) -> Row:
    return {"trial": trial, "attempt": attempt, "state": state, **TrainConfig(epochs=3, **fields).to_dict()}


def metrics(epoch: int) -> dict[str, float]:
    return {name: epoch + place / 10 for place, name in enumerate(EPOCH_METRICS)}


def epoch(trial: int, number: int, *, attempt: int = 1, **changed: float) -> Row:
    values = {"trial": trial, "attempt": attempt, "epoch": number, **metrics(number)}
    return {**values, "stamp": 1000 + number, **changed}


def ended(trial: int, *, attempt: int = 1, epochs_done: int | None = 3, state: str = "finished", **changed: Any) -> Row:
    final: dict[str, Any] = dict(metrics(epochs_done)) if epochs_done else dict.fromkeys(EPOCH_METRICS)
    test = 0.5 if epochs_done else None
    values = {**TrainConfig(epochs=3).to_dict(), **final, "test_loss": test, "test_accuracy": test, "seconds": 1.5}
    values |= dict.fromkeys(BEST, 0.25)
    values |= {"trial": trial, "attempt": attempt, "epochs_done": epochs_done, "state": state, "reason": None}
    return values | changed


class Parts:
    """Rows of one trial that come bit by bit, each bit to the runs as they are in the store by then."""

    def __init__(self, store: MemoryStore, trial: int = 0) -> None:
        self.store, self.trial = store, trial
        self.epochs: list[Row] = []
        self.ended: Row | None = None

    def hint(self, values: Row) -> None:
        Experiment(self.store, "s").hint(values, 900)

    def add(self, *epochs: Row, ended: Row | None = None, is_live: bool = True) -> bool:
        """Returns whether the runs had to be compared with all rows."""
        self.epochs += epochs
        self.ended = ended or self.ended
        experiment = Experiment(self.store, "s", is_live=is_live)
        if experiment.add(News(self.trial, epochs, ended)):
            return False
        return experiment.rebuild(News(self.trial, self.epochs, self.ended))

    def train(self, *, ended_row: Row | None = None) -> None:
        self.hint(started(self.trial))
        self.add(*(epoch(self.trial, number) for number in (1, 2)))
        self.add(epoch(self.trial, 3), ended=ended_row or ended(self.trial))


def steps(store: MemoryStore, run_id: str, metric: str = "val_loss") -> list[int]:
    return [step for step, _ in store.history(run_id, metric)]


def test_a_trial_is_one_run_below_the_sweeps_with_each_step_once() -> None:
    store = MemoryStore()
    Parts(store, 7).train()
    parent, run = store.runs()
    assert parent.tags == {"role": "sweep", "sweep": "s", "state": "running"}
    assert run.tags["mlflow.parentRunId"] == parent.run_id
    assert run.run_id.startswith("trial-00007")
    for metric in EPOCH_METRICS:
        assert steps(store, run.run_id, metric) == [1, 2, 3]
    assert run.latest["test_accuracy"] == (3, 0.5)
    assert run.latest["epochs_done"] == (3, 3.0)
    assert run.params["learning_rate"] == "0.05"


@pytest.mark.parametrize("is_hinted", [True, False])
def test_what_parts_say_does_not_need_the_hint(*, is_hinted: bool) -> None:
    store = MemoryStore()
    parts = Parts(store)
    if is_hinted:
        parts.hint(started(0))
        (run_id,) = store.active(0)
        assert store.all[run_id].params["seed"] == "0"
    parts.add(epoch(0, 1))
    (run_id,) = store.active(0)
    assert store.all[run_id].tags["state"] == "running"
    parts.add(epoch(0, 2), epoch(0, 3), ended=ended(0))
    assert store.all[run_id].params["seed"] == "0"
    assert store.deleted == []


def test_rows_that_come_again_change_nothing() -> None:
    store = MemoryStore()
    Parts(store).train()
    points, requests = {run_id: list(points) for run_id, points in store.points.items()}, store.requests
    again = Parts(store)
    again.hint(started(0))
    again.add(epoch(0, 1), epoch(0, 2))
    again.add(epoch(0, 1), epoch(0, 2), epoch(0, 3), ended=ended(0))
    assert (store.points, store.requests) == (points, requests)
    assert store.deleted == []


def test_a_session_goes_on_in_the_run_of_the_one_before() -> None:
    store = MemoryStore()
    parts = Parts(store)
    parts.hint(started(0))
    parts.add(epoch(0, 1))
    parts.hint({"trial": 0, "attempt": 1, "state": "waiting", "reason": "interrupted"})
    parts.hint(started(0))
    parts.add(epoch(0, 1), epoch(0, 2), epoch(0, 3), ended=ended(0))
    (run_id,) = store.active(0)
    assert store.deleted == []
    assert steps(store, run_id) == [1, 2, 3]
    assert store.all[run_id].tags["reason"] == ""


def test_a_later_attempt_from_the_start_replaces_the_run() -> None:
    store = MemoryStore()
    parts = Parts(store)
    parts.hint(started(0))
    parts.add(epoch(0, 1, val_loss=9.0), epoch(0, 2, val_loss=9.0))
    (old,) = store.active(0)
    parts.hint(started(0, attempt=2))
    assert store.active(0) == [old]  # until there are rows of it
    assert parts.add(epoch(0, 1, attempt=2))
    (new,) = store.active(0)
    assert store.all[new].params == store.all[old].params
    parts.add(*(epoch(0, n, attempt=2) for n in (2, 3)), ended=ended(0, attempt=2))
    assert store.active(0) == [new]
    assert store.deleted == [old]
    assert steps(store, new) == [1, 2, 3]
    assert store.history(new, "val_loss")[0] == (1, 1.1)
    assert store.all[new].tags["attempt"] == "2"


@pytest.mark.parametrize("is_told_at_once", [True, False])
def test_a_later_attempt_from_a_checkpoint_keeps_the_epochs_before_it(is_told_at_once: bool) -> None:
    store = MemoryStore()
    parts = Parts(store)
    first = [epoch(0, 1), epoch(0, 2, val_loss=9.0)]
    second = [epoch(0, 2, attempt=2), epoch(0, 3, attempt=2)]
    for rows in [[*first, *second]] if is_told_at_once else [first, second]:
        parts.add(*rows)
    parts.add(ended=ended(0, attempt=2))
    (run_id,) = store.active(0)
    assert store.history(run_id, "val_loss") == [(1, 1.1), (2, 2.1), (3, 3.1)]


def test_a_later_attempt_that_failed_at_once_shows_of_old_epochs_the_best_network_only() -> None:
    store = MemoryStore()
    parts = Parts(store)
    parts.add(epoch(0, 1))
    parts.add(ended=ended(0, attempt=2, epochs_done=None, state="failed", reason="crashed"))
    (run_id,) = store.active(0)
    best = {"best_epoch", "best_estimate", "best_standard_error", "best_remaining"}
    assert {name for name, *_ in store.points[run_id]} == {"seconds"} | best
    assert store.all[run_id].tags["reason"] == "crashed"


def test_late_rows_of_an_attempt_that_was_given_up_are_ignored() -> None:
    store = MemoryStore()
    parts = Parts(store)
    parts.add(epoch(0, 1, attempt=2), epoch(0, 2, attempt=2))
    assert not parts.add(epoch(0, 3, attempt=1))
    (run_id,) = store.active(0)
    assert steps(store, run_id) == [1, 2]


@pytest.mark.parametrize("changed", [{"val_loss": 8.0}, {"epochs_done": 2, **metrics(2)}])
def test_what_the_end_says_counts(changed: dict[str, Any]) -> None:
    store = MemoryStore()
    parts = Parts(store)
    parts.add(*(epoch(0, number) for number in (1, 2, 3)))
    assert parts.add(ended=ended(0, **changed))
    (run_id,) = store.active(0)
    last = changed.get("epochs_done", 3)
    assert steps(store, run_id) == list(range(1, last + 1))
    assert store.history(run_id, "val_loss")[-1] == (last, changed["val_loss"])


def test_a_trial_that_was_sampled_anew_gets_a_new_run() -> None:
    store = MemoryStore()
    parts = Parts(store)
    parts.hint(started(0))
    parts.add(epoch(0, 1), epoch(0, 2))
    parts.hint(started(0, attempt=2, seed=5))
    parts.add(*(epoch(0, n, attempt=2) for n in (1, 2, 3)), ended=ended(0, attempt=2, seed=5))
    (run_id,) = store.active(0)
    assert steps(store, run_id) == [1, 2, 3]
    assert store.all[run_id].params["seed"] == "5"


@pytest.mark.parametrize("seen", [0, 2, 3])
@pytest.mark.parametrize("first", [True, False])
def test_of_a_run_that_was_made_twice_the_one_that_was_filled_stays(seen: int, *, first: bool) -> None:
    """A request to make a run that seemed to fail was carried out late; which of both is listed first is chance."""
    store = MemoryStore()
    parts = Parts(store)
    parts.hint(started(0))
    parts.add(*(epoch(0, number) for number in range(1, seen + 1)), ended=ended(0) if seen == 3 else None)
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
    parts.add(*(epoch(0, number) for number in (1, 2, 3)), ended=ended(0))
    assert steps(store, store.active(0)[0]) == [1, 2, 3]


def test_an_end_that_was_cut_short_is_completed() -> None:
    store = MemoryStore()
    parts = Parts(store)
    parts.add(epoch(0, 1), epoch(0, 2))
    (run_id,) = store.active(0)
    store.delete(run_id)  # and the request to make the next one came to nothing
    parts.add(epoch(0, 3), ended=ended(0))
    (new,) = store.active(0)
    assert steps(store, new) == [1, 2, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named_and_left_out(value: float) -> None:
    store = MemoryStore()
    rows = [epoch(0, 1), epoch(0, 2, train_loss=value), epoch(0, 3, val_loss=value, train_loss=value)]
    Parts(store).add(*rows, ended=ended(0, train_loss=value, val_loss=value, state="failed", reason="diverged"))
    (run_id,) = store.active(0)
    assert steps(store, run_id, "train_loss") == [1]
    assert steps(store, run_id, "remaining") == [1, 2, 3]
    assert store.all[run_id].tags["non_finite"] == "train_loss val_loss"
    assert store.deleted == []


def test_the_sweeps_parameters_may_grow() -> None:
    store = MemoryStore()
    Experiment(store, "s").begin({"trials": 8, "eta": 0.1}, {"commit": "abc"}, None)
    Experiment(store, "s").begin({"trials": 16, "eta": 0.1}, {}, None)
    (run,) = store.runs()
    assert run.params == {"trials": "8", "eta": "0.1"}
    assert run.tags["trials"] == "16"
    assert run.tags["mlflow.source.git.commit"] == "abc"


def test_the_offset_is_kept_with_the_rows() -> None:
    store = MemoryStore()
    assert Experiment(store, "s").offset == Offset()
    Experiment(store, "s").commit(Offset(3, 2, 170))
    assert Experiment(store, "s").offset == Offset(3, 2, 170)
    (run,) = store.runs()
    assert run.tags[OFFSET] == "3 2 170"


@pytest.mark.parametrize("text", [None, "", "4", "4 x 2", "-4 1 2", "1 2 3 4"])
def test_an_offset_of_another_version_is_the_start(text: str | None) -> None:
    assert Offset.parse(text) == Offset()


def repair(store: MemoryStore, trial: int = 0, **changed: Any) -> bool:
    """As `sweeps mlflow-sync` does: from the start, with all rows. Returns whether anything was to do."""
    experiment = Experiment(store, "s", is_live=False)
    news = News(trial, [epoch(trial, number) for number in (1, 2, 3)], ended(trial, **changed))
    assert experiment.add(news) or experiment.rebuild(news)
    return bool(experiment.changed)


def test_repair_leaves_an_equal_run_alone() -> None:
    store = MemoryStore()
    assert repair(store)
    assert not repair(store)
    Parts(store, 1).train()
    assert not repair(store, 1)
    assert store.deleted == []


@pytest.mark.parametrize(
    ("epochs", "end", "is_replaced"),
    [
        ([], None, False),
        ([epoch(0, 1)], None, False),
        ([epoch(0, 1), epoch(0, 2), epoch(0, 3)], None, False),
        ([epoch(0, 2)], None, False),  # not sent: the epoch before it was not written yet
        ([epoch(0, 1, val_accuracy=0.123)], None, True),
        ([epoch(0, 1), epoch(0, 2), epoch(0, 3), epoch(0, 4)], None, True),
        ([epoch(0, 1), epoch(0, 2), epoch(0, 3)], ended(0, test_loss=0.25), True),
        ([epoch(0, 1), epoch(0, 2), epoch(0, 3)], ended(0, seed=1), True),
        ([epoch(0, 1), epoch(0, 2), epoch(0, 3)], ended(0, state="stopped"), False),
    ],
)
def test_repair_completes_or_replaces(epochs: list[Row], end: Row | None, *, is_replaced: bool) -> None:
    store = MemoryStore()
    parts = Parts(store)
    parts.hint(started(0))
    parts.add(*epochs, ended=end)
    replaced = len(store.deleted)
    assert repair(store)
    (run_id,) = store.active(0)
    assert (len(store.deleted) > replaced) == is_replaced
    assert store.history(run_id, "val_loss") == [(1, 1.1), (2, 2.1), (3, 3.1)]
    assert store.history(run_id, "test_loss") == [(3, 0.5)]
    assert store.all[run_id].tags["state"] == "finished"
    assert not repair(store)


def test_the_last_attempt_of_each_epoch_counts_and_none_after_the_end() -> None:
    store = MemoryStore()
    rows = [*(epoch(0, n, val_loss=9.0) for n in (1, 2, 3)), epoch(0, 2, attempt=2)]
    parts = Parts(store)
    parts.add(*rows, ended=ended(0, attempt=2, epochs_done=2, state="failed", reason="diverged"))
    (run_id,) = store.active(0)
    assert store.history(run_id, "val_loss") == [(1, 9.0), (2, 2.1)]
    requests = store.requests
    assert parts.add(is_live=False)
    assert (store.requests, store.active(0)) == (requests, [run_id])


def test_a_sweep_that_nobody_drives_has_no_running_trials() -> None:
    store = MemoryStore()
    Parts(store, 0).add(epoch(0, 1))
    Parts(store, 1).add(epoch(1, 1), is_live=False)
    Parts(store, 0).add(epoch(0, 1), is_live=False)
    assert {run.tags["state"] for run in store.runs() if run.tags["role"] == "trial"} == {"waiting"}


def confirmation(seed_index: int, accuracy: float, state: str = "finished") -> dict[str, Any]:
    return {"seed_index": seed_index, "state": state, "test_accuracy": accuracy, "remaining": 0.02, "ended": None}


def test_confirmations_join_the_run_of_their_trial_once_and_survive_a_repair() -> None:
    store = MemoryStore()
    Parts(store).train()
    rows = [confirmation(0, 0.94), confirmation(1, 0.96), confirmation(2, 0.0, "failed")]

    def add() -> bool:
        (run,) = (run for run in store.runs() if run.tags["role"] == "trial")
        return add_confirmations(store, run, {3: rows})

    assert add()
    (run_id,) = store.active(0)
    assert store.history(run_id, "confirm/3/test_accuracy") == [(0, 0.94), (1, 0.96)]
    assert store.history(run_id, "confirm/3/test_accuracy_mean") == [(2, pytest.approx(0.95))]
    assert store.history(run_id, "confirm/3/test_accuracy_std") == [(2, pytest.approx(0.02 / 2**0.5))]
    assert store.history(run_id, "confirm/3/remaining_low") == [(2, 0.02)]
    assert store.all[run_id].tags["confirmed"] == "3"
    assert not add()
    rows += [confirmation(seed, 0.95) for seed in range(3, 10)]  # steps beyond the trial's three epochs
    assert add()
    assert not add()
    assert store.history(run_id, "confirm/3/test_accuracy_mean")[-1][0] == 9
    points = list(store.points[run_id])
    assert not repair(store)
    Parts(store).train()
    assert store.active(0) == [run_id]
    assert store.points[run_id] == points
    assert not add()


def test_one_confirmation_has_a_mean_only_and_failed_ones_add_nothing() -> None:
    store = MemoryStore()
    Parts(store).train()
    (run,) = (run for run in store.runs() if run.tags["role"] == "trial")
    assert not add_confirmations(store, run, {3: [confirmation(0, 0.9, "failed")]})
    assert add_confirmations(store, run, {3: [confirmation(0, 0.9)]})
    assert {name for name in store.all[run.run_id].latest if name.startswith("confirm/")} == {
        "confirm/3/test_accuracy", "confirm/3/test_accuracy_mean", "confirm/3/remaining", "confirm/3/remaining_mean",
    }  # fmt: skip

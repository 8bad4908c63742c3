"""What a driver can take: made-up reports of many packs through searcher, books, Parquet, study and mirror.

No pack trains: reports arrive as fast as the driver takes them, or at 5,000 lane-epochs per second. The mirror writes
to an SQLite store, far too slow for either, so it lags all the time. The peer is what the stock stack does for the same
reports in the loop of Ray Tune: OptunaSearch and MLflowLoggerCallback, one Tune trial per training, on the same kind of
store; Tune's JSON, CSV and TensorBoard writers are left out in its favour. Neither side's time has Ray's transport in
it, nor do the reports' own making, which is the workers' work.
"""

import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from search_spaces.load import load
from search_spaces.space import SearchSpace
from supermask.metrics import LayerFractions
from sweeps import results
from sweeps.driver.opening import open_session
from sweeps.driver.plan import PackPlan, Resources
from sweeps.driver.ray_executor import PackSearcher
from sweeps.driver.sharing import MachineShare
from sweeps.search.study_place import place_of
from sweeps.signals import GRACE_SECONDS, OrderlyEnd
from sweeps.store import lease
from sweeps.store.paths import SweepPaths
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.mlflow_store import default_uri
from sweeps.worker.messages import EndedLane, PackOrder, PackReport, Place, layer_rows
from sweeps.worker.ray_worker import parcel

LANES, EPOCHS, PACE = 64, 60, 5000.0
METRICS = ("train_loss", "val_loss", "val_accuracy", "estimate", "standard_error", "remaining", "inverted")
err = Console(stderr=True, highlight=False)


@dataclass
class Load:
    """What one run of a driver came to.

    Attributes:
        lane_epochs: How many were reported.
        seconds: From the first report until the last row was in Parquet and in the study.
        blocked: Part of them that Tune's loop would have stood still while packs were in training.
        grown: What the process's memory grew by at most, in MiB.
    """

    lane_epochs: int
    seconds: float
    blocked: float
    grown: float


class Fast:
    """An executor whose packs report as fast as they are asked."""

    resources = Resources(cpus=1, gpus=0)

    def call(self, *_: Any, **__: Any) -> None:
        """Nothing is measured."""

    def start_store(self, folder: Path, *, name: str) -> Any:  # noqa: ARG002
        """No pack is lost."""
        return SimpleNamespace(forget=lambda _: None, reached=lambda _: {})

    def start_judge(self, paths: SweepPaths, space: SearchSpace) -> None:
        """Nobody is stopped."""

    def share(self, plan: PackPlan, queue: Any, *, most: int | None) -> MachineShare:  # noqa: ARG002
        """Room for any number of packs."""
        return MachineShare(plan)

    def train(self, dispatcher: Any, plan: PackPlan, settings: Any, datasets: Any) -> None:
        """The benchmark does it by hand."""

    def is_lost(self) -> bool:
        """Never."""
        return False


class Driver:
    """A driver as `sweeps.run` opens it, without Ray."""

    def __init__(self, root: Path, space: SearchSpace) -> None:
        paths = SweepPaths(root, space.name)
        paths.folder.mkdir(parents=True)
        self.mirror = Mirror(default_uri(root), space.name, root=root)
        self.mirror.start_sweep({}, {})
        self._opened = open_session(
            paths,
            space,
            Fast(),
            plan=PackPlan(LANES, 1, 0, 10**6, ""),
            place=place_of(paths),
            lease=lease.take(paths.sessions, what="driver"),
            mirror=self.mirror,
            end=OrderlyEnd(GRACE_SECONDS, err.print),
        )
        self.wait = self._opened.recorder.wait
        self.searcher = PackSearcher(self._opened.dispatcher)

    def close(self) -> None:
        """Gives the mirror up: it would need hours."""
        self.mirror.close(0.1)


def reports(order: PackOrder) -> Iterator[PackReport]:
    """What a pack would report: one epoch at a time."""
    trials = np.array([lane.trial for lane in order.lanes])
    attempts = np.array([lane.attempt for lane in order.lanes])
    noise = np.random.default_rng(int(trials[0])).uniform(0.01, 0.9, (EPOCHS, len(METRICS), len(trials)))
    layers = tuple(LayerFractions(f"linear{number}", 0.25, 0.1) for number in range(3))
    place = Place("host", "cpu", "float32", datetime.now(UTC), classes=10)
    for epoch in range(1, EPOCHS + 1):
        values = dict(zip(METRICS, noise[epoch - 1], strict=True))
        table = results.Table.from_pydict(
            {"trial": trials, "attempt": attempts, "epoch": np.full(len(trials), epoch), **values}
            | {"layers": [layer_rows(layers)] * len(trials), "seconds": np.full(len(trials), 0.5)}
            | {"test_loss": [None] * len(trials), "test_accuracy": [None] * len(trials)}
            | {"ended": [datetime.now(UTC)] * len(trials)},
            schema=results.EPOCHS,
        )
        ended = tuple(
            EndedLane(
                trial=lane.trial,
                attempt=lane.attempt,
                state="finished",
                epochs_done=EPOCHS,
                **cast(Any, {name: float(values[name][number]) for name in METRICS}),
                layers=layers,
                test_loss=0.5,
                test_accuracy=0.5,
                ended=datetime.now(UTC),
                seconds=10.0,
            )
            for number, lane in enumerate(order.lanes)
        )
        last = epoch == EPOCHS
        yield PackReport(
            pack=order.number,
            place=place if epoch == 1 else None,
            epochs=table,
            epoch=epoch,
            ended=ended if last else (),
            done=last,
        )


class Packs:
    """Packs that report to a driver in turn, all of them before one does again."""

    def __init__(self, driver: Driver, count: int) -> None:
        self._driver, self._count, self._next = driver, count, 0
        self._running: dict[str, Iterator[PackReport]] = {}
        self.blocked = 0.0
        while len(self._running) < count:  # not as short of packs as a sweep that begins
            self._start()
        # Packs of a sweep do not end all together: each of these is somewhere else in its life.
        for place, (name, left) in enumerate(self._running.items()):
            self._running[name] = islice(left, place * EPOCHS // count, None)

    def report(self, lane_epochs: int, *, pace: float | None) -> Load:
        """Lets packs report so many lane-epochs, all at once or `pace` a second; those that end are replaced."""
        before, done, self.blocked = _memory(), 0, 0.0
        began = time.perf_counter()
        while done < lane_epochs:
            if len(self._running) < self._count:
                self._start()
            for name in list(self._running):
                if pace:
                    time.sleep(max(0.0, began + done / pace - time.perf_counter()))
                done += self._report(name)
                if done >= lane_epochs:
                    break
        self._driver.wait()
        return Load(done, time.perf_counter() - began, self.blocked, _memory() - before)

    def _start(self) -> None:
        started = time.perf_counter()
        found = self._driver.searcher.suggest(str(self._next))
        if self._running:  # with no pack in training there is nothing that could wait
            self.blocked += time.perf_counter() - started
        if found is not None:
            self._running[str(self._next)] = reports(found["order"])
            self._next += 1

    def _report(self, name: str) -> int:
        report = next(self._running[name])
        last, searcher = report.done, self._driver.searcher
        started = time.perf_counter()
        (searcher.on_trial_complete if last else searcher.on_trial_result)(name, parcel(report))
        self.blocked += time.perf_counter() - started
        if last:
            del self._running[name]
        return len(report.epochs)


class Peer:
    """The stock stack's loop: what Ray Tune calls for one training after the other."""

    def __init__(self, root: Path, space: SearchSpace) -> None:
        from ray.air.integrations.mlflow import MLflowLoggerCallback
        from ray.tune.search.optuna import OptunaSearch

        warnings.simplefilter("ignore")
        modes = [direction.removesuffix("imize") for direction in space.objectives.values()]
        self._search = OptunaSearch(space.suggest, metric=list(space.objectives), mode=modes)
        root.mkdir()
        self._log = MLflowLoggerCallback(default_uri(root), experiment_name="peer")
        self._log.setup()
        self._next = 0

    def run(self, lane_epochs: int) -> Load:
        """Trains, in a manner of speaking, one trial after the other."""
        before, done, blocked = _memory(), 0, 0.0
        while done < lane_epochs:
            name, self._next = f"trial_{self._next}", self._next + 1
            started = time.perf_counter()
            config = self._search.suggest(name)
            trial = _Trial(name, config or {})
            self._log.log_trial_start(trial)  # pyright: ignore[reportArgumentType]
            for epoch in range(1, EPOCHS + 1):
                result = dict.fromkeys(METRICS, 0.5) | {"training_iteration": epoch, "timestamp": epoch}
                self._search.on_trial_result(name, result)
                self._log.log_trial_result(epoch, trial, result)  # pyright: ignore[reportArgumentType]
            self._search.on_trial_complete(name, dict.fromkeys(METRICS, 0.5))
            self._log.log_trial_end(trial)  # pyright: ignore[reportArgumentType]
            blocked += time.perf_counter() - started
            done += EPOCHS
        return Load(done, blocked, blocked, _memory() - before)


class _Trial:
    """What MLflowLoggerCallback asks of a Tune trial."""

    def __init__(self, name: str, config: Row) -> None:
        self.trial_id, self.config, self.evaluated_params, self.status = name, config, config, "RUNNING"
        self.local_path = None

    def __str__(self) -> str:
        return self.trial_id


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(space: SearchSpace, packs: int, *, lane_epochs: int, repeats: int) -> list[Row]:
    """Throughput and blocking with so many packs at a time."""
    fast, paced, peer = list[Load](), list[Load](), list[Load]()
    with tempfile.TemporaryDirectory(prefix="driver-", ignore_cleanup_errors=True) as folder:
        stock = Peer(Path(folder) / "peer", space)  # first, for our mirror's thread would slow it down
        for _ in range(repeats):
            peer.append(stock.run(2 * EPOCHS))
        driver = Driver(Path(folder), space)
        running = Packs(driver, packs)
        for their in peer:
            fast.append(running.report(4 * lane_epochs, pace=None))
            paced.append(running.report(lane_epochs, pace=PACE))
            err.print(
                f"{packs} packs: {fast[-1].lane_epochs / fast[-1].seconds:,.0f} lane-epochs/s; at {PACE:,.0f}/s "
                f"blocked {paced[-1].blocked / paced[-1].seconds:.2%}; peer "
                f"{their.lane_epochs / their.seconds:,.0f}/s"
            )
        driver.close()
    rates = [[load.lane_epochs / load.seconds for load in loads] for loads in (fast, peer)]
    costs = [[1e6 * load.blocked / load.lane_epochs for load in loads] for loads in (paced, peer)]
    shares = [load.blocked / load.seconds for load in paced]
    return [
        record.compare(f"{packs} packs: lane-epochs per second", rates[0], peer=rates[1], unit="1/s"),
        record.compare(
            f"{packs} packs: microseconds of Tune's loop per lane-epoch",
            costs[0],
            peer=costs[1],
            lower_is_better=True,
            unit="us",
            blocked_share=float(np.median(shares)),
            blocked_share_high=max(shares),
            pace=PACE,
        ),
    ]


def large(space: SearchSpace, trials: int) -> Row:
    """One driver with a thousand packs until so many trials have ended; its first tenth is its own peer."""
    with tempfile.TemporaryDirectory(prefix="driver-", ignore_cleanup_errors=True) as folder:
        driver = Driver(Path(folder), space)
        running = Packs(driver, min(1000, trials // (2 * LANES)))
        tenth = running.report(trials * EPOCHS // 10, pace=None)
        err.print(f"{trials // 10} trials: {tenth.lane_epochs / tenth.seconds:,.0f}/s, {tenth.grown:,.0f} MiB")
        rest = running.report(trials * EPOCHS * 9 // 10, pace=None)
        err.print(f"{trials} trials: {rest.lane_epochs / rest.seconds:,.0f}/s, {rest.grown:,.0f} MiB more")
        driver.close()
    rate, peer = rest.lane_epochs / rest.seconds, tenth.lane_epochs / tenth.seconds
    case = f"{trials} trials: lane-epochs per second, against the first tenth of them"
    return record.compare(case, [rate], peer=[peer], unit="1/s", mib_first_tenth=tenth.grown, mib_rest=rest.grown)


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few reports, once.")] = False,
) -> None:
    """Prints what a driver takes per second, and for how long Tune's loop stands still, each against its peer."""
    import mlflow  # noqa: F401  # pyright: ignore[reportUnusedImport] - takes seconds that are not the driver's

    space = load(record.REPOSITORY / "search_spaces" / "fcn_mnist.yaml")
    space = replace(space, sampler=replace(space.sampler, name="random", seed=1), trials=10**6)
    rows = list[Row]()
    for packs in (2,) if quick else (10, 100, 1000):
        rows += compare(space, packs, lane_epochs=2_000 if quick else 25_000, repeats=1 if quick else 5)
    rows.append(large(space, 320 if quick else 100_000))
    if json:
        record.write(json, rows)
    Console().print(record.table(rows))


if __name__ == "__main__":
    script.start(main)

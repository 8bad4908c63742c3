"""One pack in a Ray worker: trains its lanes and reports every epoch."""

import os
import socket
import time
from datetime import UTC, datetime
from typing import Any

import ray
import torch
from ray import tune

from search_spaces.space import Stopping
from supermask import lane_states, memory
from supermask.artifact import Artifact
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.metrics import RECORDED, EpochMetrics
from supermask.pack import Pack
from supermask.program import compile_pays
from sweeps.keeping import costs_of, is_beaten
from sweeps.results import epochs_table
from sweeps.rungs import is_rung
from sweeps.watchdog import HANG_SECONDS, Watchdog

REPORT_SECONDS = 1.0
"""Shortest time between two reports of a pack: short epochs travel together."""

Row = dict[str, Any]


class PackTrainable(tune.Trainable):
    """A `PackWorker` as Ray Tune drives it."""

    def setup(
        self,
        config: Row,
        datasets: dict[str, Row] | None = None,
        stopping: Stopping | None = None,
        judge: Any = None,
        hang_seconds: float = HANG_SECONDS,
    ) -> None:
        """Takes the first pack; see `PackWorker`.

        Args:
            config: The Tune trial's configuration, an order of `PackWorker`.
            datasets: Arrays of every dataset of the sweep by name, from Ray's object store.
            stopping: Where the rungs are; None trains every trial to its end.
            judge: Handle of the actor that decides at a rung and keeps states, see `sweeps.rungs.Waypoint`.
            hang_seconds: Time without a step of training from which a pack is given up, see `sweeps.watchdog`.
        """
        self._worker = PackWorker(datasets or {}, stopping, judge, hang_seconds)
        self._worker.take(config)

    def reset_config(self, new_config: Row) -> bool:
        """Takes the next pack in the same process: importing torch anew would cost seconds."""
        self._worker.take(new_config)
        return True

    def step(self) -> Row:
        """Trains until the next report is due or every lane has ended."""
        return self._worker.step()


class PackWorker:
    """Trains one pack after the other; one step is as many epochs as fit between two reports.

    An order is `{"pack": number, "cpus": threads, "gpus": share, "slots": most lanes of any pack, "epoch": where it
    starts, "lanes": [{"trial", "attempt", "config", "seconds"}, ...], "objectives": [[metric, direction], ...],
    "rivals": [costs, ...]}`. Where it starts after epoch 0, the lanes' states are with the judge. A report holds

    * `started`: host, device and dtype in the first report of a pack, else empty (a list, because Tune
      flattens dictionaries);
    * `epochs`: one row per lane and epoch, as a table of `sweeps.results.EPOCHS`; the latest `epoch`, and the `trials`
      in the table;
    * `ended`: one row per lane that has ended, with state, reason and final metrics, and with the trained
      network (`artifact`) where no rival beats it;
    * `paused`: one row per lane that has passed a rung at which others of its pack were stopped: with trial, epoch and
      seconds so far. Its state is with the judge, so that it goes on with others;
    * `error`: why the whole pack broke, else None, and whether it was for want of memory (`out_of_memory`). A pack that
      hangs reports so without being `done`; the process ends with the next step, for a thread cannot be ended alone.

    Args:
        datasets: See `PackTrainable.setup`.
        stopping: See `PackTrainable.setup`.
        judge: See `PackTrainable.setup`.
        hang_seconds: See `PackTrainable.setup`.
    """

    def __init__(
        self,
        datasets: dict[str, Row],
        stopping: Stopping | None = None,
        judge: Any = None,
        hang_seconds: float = HANG_SECONDS,
    ) -> None:
        self._watchdog = Watchdog(hang_seconds)
        self._datasets, self._stopping, self._judge = datasets, stopping, judge
        self._loaded: dict[str, Dataset] = {}

    def take(self, order: Row) -> None:
        """Takes the next pack."""
        self._order = order
        self._lanes: list[Row] = order["lanes"]
        self._pack: Pack | None = None
        self._seconds: list[float] = [lane["seconds"] for lane in self._lanes]
        self._started = datetime.now(UTC)

    def step(self) -> Row:
        """Trains until the next report is due or every lane has ended."""
        if self._watchdog.hung:
            os._exit(1)
        try:
            return self._watchdog.watch(self._train, lambda: self._pack and self._pack.batches_done)
        except TimeoutError as error:
            return self._nothing() | {"error": str(error)}

    def _nothing(self) -> Row:
        return {
            "pack": self._order["pack"],
            "started": [],
            "epochs": epochs_table([]),
            "epoch": 0,
            "trials": [],
            "ended": [],
            "paused": [],
            "error": None,
            "out_of_memory": False,
            "done": False,
        }

    def _train(self) -> Row:
        epochs, report = list[Row](), self._nothing()
        try:
            if self._pack is None:
                self._pack = self._build()
                report["started"].append(self._place(self._pack))
            due = time.monotonic() + REPORT_SECONDS
            while self._pack.lanes and time.monotonic() < due:
                epochs += self._epoch(self._pack, report)
                report["epoch"] = self._pack.epoch
        except Exception as error:  # whatever broke the pack is the driver's to judge, not Tune's
            report["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            report["out_of_memory"] = memory.ran_out(error)
        report["epochs"], report["trials"] = epochs_table(epochs), list({row["trial"] for row in epochs})
        report["done"] = bool(report["error"]) or self._pack is None or not self._pack.lanes
        if report["done"]:
            self._pack = None
        if report["out_of_memory"] and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return report

    def _build(self) -> Pack:
        started = time.perf_counter()
        torch.set_num_threads(self._order["cpus"])
        configs = [TrainConfig.from_dict(lane["config"]) for lane in self._lanes]
        name = configs[0].dataset
        if name not in self._loaded:
            self._loaded[name] = Dataset.from_arrays(self._datasets[name])
        device = torch.device("cuda" if self._order["gpus"] and torch.cuda.is_available() else "cpu")
        data = self._loaded[name]
        compiled = compile_pays(configs[0], data, device)
        pack = Pack(configs, data, device=device, compiled=compiled, slots=self._order["slots"])
        if self._order["epoch"]:
            trials = [lane["trial"] for lane in self._lanes]
            pack.load_state_dict(lane_states.join(ray.get(self._judge.take.remote(trials))))
        self._share(time.perf_counter() - started, pack.lanes)
        return pack

    def _place(self, pack: Pack) -> Row:
        device = torch.cuda.get_device_name(pack.device) if pack.device.type == "cuda" else "cpu"
        return {
            "host": socket.gethostname(),
            "device": device,
            "dtype": str(pack.dtype).removeprefix("torch."),
            "started": self._started,
        }

    def _epoch(self, pack: Pack, report: Row) -> list[Row]:
        """One epoch of every lane, as rows; lanes that diverged or are done have ended and leave the pack."""
        metrics = pack.train_epoch()
        for found in metrics:
            self._share(found.seconds, [found.lane])
        failed = [found for found in metrics if found.fault]
        report["ended"] += [self._ended(found, state="failed", reason=found.fault) for found in failed]
        pack.drop(found.lane for found in failed)
        if complete := pack.complete():
            self._finish(pack, [found for found in metrics if found.lane in complete], report)
        if pack.lanes and self._stopping and is_rung(pack.epoch, self._stopping):
            self._stop(pack, metrics, report)
        return [self._identity(found.lane) | _epoch_row(found) for found in metrics]

    def _stop(self, pack: Pack, metrics: list[EpochMetrics], report: Row) -> None:
        """A rung: lanes that are not among the best of the sweep there have ended, and leave the pack half empty."""
        lanes = {self._lanes[found.lane]["trial"]: found for found in metrics if found.lane in pack.lanes}
        objectives = self._order["objectives"]
        reached = {trial: costs_of(vars(found), objectives) for trial, found in lanes.items()}
        stopped = ray.get(self._judge.judge.remote(pack.epoch, reached))
        eta = self._stopping.eta if self._stopping else 0
        reason = f"stopped after epoch {pack.epoch}: not among the best 1/{eta} of the trials that came so far"
        report["ended"] += [self._ended(lanes[trial], state="stopped", reason=reason) for trial in stopped]
        pack.drop(lanes[trial].lane for trial in stopped)
        if stopped and pack.lanes:
            self._pause(pack, report)

    def _pause(self, pack: Pack, report: Row) -> None:
        """The lanes left go on in other packs."""
        states = lane_states.split(pack.state_dict())
        ray.get(self._judge.keep.remote({self._lanes[lane]["trial"]: state for lane, state in states.items()}))
        report["paused"] += [
            {"trial": self._lanes[lane]["trial"], "epoch": pack.epoch, "seconds": self._seconds[lane]}
            for lane in states
        ]
        pack.drop(list(states))

    def _finish(self, pack: Pack, metrics: list[EpochMetrics], report: Row) -> None:
        """These lanes are through: test accuracy, masks, and their end."""
        started = time.perf_counter()
        tests = {test.lane: test for test in pack.evaluate("test")}
        self._share(time.perf_counter() - started, pack.lanes)
        for found in metrics:
            test = tests[found.lane]
            row = self._ended(found, state="finished", test_loss=test.loss, test_accuracy=test.accuracy)
            if not is_beaten(costs_of(row, self._order["objectives"]), self._order["rivals"]):
                numbers = {name: row[name] for name in (*RECORDED, "test_loss", "test_accuracy")}
                row["artifact"] = Artifact.of(pack, found.lane, numbers).to_bytes()
            report["ended"].append(row)
        pack.drop(found.lane for found in metrics)

    def _identity(self, lane: int) -> Row:
        return {"trial": self._lanes[lane]["trial"], "attempt": self._lanes[lane]["attempt"]}

    def _ended(
        self,
        found: EpochMetrics,
        *,
        state: str,
        reason: str | None = None,
        test_loss: float | None = None,
        test_accuracy: float | None = None,
    ) -> Row:
        return self._identity(found.lane) | {
            "state": state,
            "reason": reason,
            "epochs_done": found.epoch,
            **{name: getattr(found, name) for name in RECORDED},
            "layers": _layer_rows(found),
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "ended": datetime.now(UTC),
            "seconds": self._seconds[found.lane],
        }

    def _share(self, seconds: float, lanes: list[int]) -> None:
        """Books time on lanes, in equal parts."""
        for lane in lanes:
            self._seconds[lane] += seconds / len(lanes)


def _epoch_row(found: EpochMetrics) -> Row:
    return {name: getattr(found, name) for name in ("epoch", *RECORDED, "seconds")} | {"layers": _layer_rows(found)}


def _layer_rows(found: EpochMetrics) -> list[Row]:
    return [dict(vars(layer)) for layer in found.layers]

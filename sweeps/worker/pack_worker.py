"""One pack in a Ray worker: trains its lanes and reports every epoch."""

import os
import socket
import time
from datetime import UTC, datetime
from typing import Any

import ray
import torch
from ray.actor import exit_actor
from ray.exceptions import GetTimeoutError

from search_spaces.space import Stopping
from supermask import lane_states, memory
from supermask.artifact import Artifact
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.metrics import RECORDED, EpochMetrics
from supermask.pack import Pack
from supermask.program import compile_pays
from sweeps.objectives import Objectives, is_beaten
from sweeps.results import epochs_table
from sweeps.search.halving import is_rung, remaining_before
from sweeps.worker.cadence import Pace
from sweeps.worker.checkpoints import Checkpoint, Reached, fingerprint
from sweeps.worker.device import device_of
from sweeps.worker.reporting import ended_row, epoch_row, nothing_of
from sweeps.worker.watchdog import HANG_SECONDS, Watchdog

REPORT_SECONDS = 1.0
"""Shortest time between two reports of a pack: short epochs travel together."""
ANSWER_SECONDS = 0.1
"""How long a pack waits to hear whether it is preempted; an answer that comes later is read after its next epochs."""

Row = dict[str, Any]


class PackWorker:
    """Trains one pack after the other; one step is as many epochs as fit between two reports.

    An order is `{"pack": number, "cpus": threads, "gpus": share, "slots": most lanes of any pack, "epoch": where it
    starts, "lanes": [{"trial", "attempt", "config", "seconds", "started"}, ...], "objectives": [[metric, direction],
    ...], "rivals": [claims, ...]}`. Where it starts after epoch 0, the lanes' states are with the keeper. States are
    sent there at the beginning of a step, when the driver has all epochs that led to them. A report holds

    * `started`: in the first report of a pack, before it trains, node, host, device, dtype and whether its process is a
      `fresh` one; else empty (a list, because Tune flattens dictionaries);
    * `epochs`: one row per lane and epoch, as a table of `sweeps.results.EPOCHS`; the latest `epoch`, and the `trials`
      in the table;
    * `ended`: one row per lane that has ended, with state, reason and final metrics, and with the trained
      network (`artifact`) where no rival beats it;
    * `paused`: one row per lane that waits for another pack: with trial, epoch and seconds so far. Its state is with
      the keeper. Either it has passed a rung at which others of its pack were stopped, or its pack was preempted;
    * `keeps`: whether the next step begins with states on their way to the keeper; `unkept`: why the last ones could
      not be written;
    * `error`: why the whole pack broke, else None, and whether it was for want of memory (`out_of_memory`). A pack that
      hangs reports so without being `done`; the process ends with the next step, for a thread cannot be ended alone.
      So does one that breaks the process's hold of its GPU: the next pack would break at once, and all others. And one
      that was preempted: Tune would train its next pack in this process, on a node or a share that is to be given back.

    Args:
        datasets: Arrays of every dataset of the sweep by name, from Ray's object store.
        stopping: Where the rungs are; None trains every trial to its end.
        judge: Handle of the actor that decides at a rung, see `sweeps.driver.judge.Judge`.
        hang_seconds: Time without a step of training from which a pack is given up, see `sweeps.worker.watchdog`.
        keeper: Handle of the sweep's actor, see `sweeps.worker.checkpoint_actor.Keeper`; without one no state is kept,
            and no pack preempted.
        checkpoint_seconds: Training between two states on disk; None chooses, see `sweeps.worker.cadence.Pace`.
    """

    def __init__(
        self,
        datasets: dict[str, Row],
        stopping: Stopping | None = None,
        judge: Any = None,
        *,
        hang_seconds: float = HANG_SECONDS,
        keeper: Any = None,
        checkpoint_seconds: float | None = None,
    ) -> None:
        self._watchdog = Watchdog(hang_seconds)
        # Well within the watchdog's limit: that an actor is slow is not the pack's fault.
        self._patience_seconds, self._kept = hang_seconds / 2, 0
        self._datasets, self._stopping, self._judge, self._keeper = datasets, stopping, judge, keeper
        self._loaded: dict[str, Dataset] = {}
        self._pace, self._fresh = Pace(checkpoint_seconds), True

    def take(self, order: Row) -> None:
        """Takes the next pack."""
        self._order = order
        self._lanes: list[Row] = order["lanes"]
        self._pack: Pack | None = None
        self._seconds: list[float] = [lane["seconds"] for lane in self._lanes]
        self._started = datetime.now(UTC)
        self._pausing = self._keeping = self._broken = self._preempted = False
        self._asked: Any = None
        self._pace.begin()

    def step(self) -> Row:
        """Trains until the next report is due or every lane has ended."""
        if self._watchdog.hung or self._broken:
            os._exit(1)
        if self._has_left:
            exit_actor()
        try:
            return self._watchdog.watch(self._train, self._progress)
        except TimeoutError as error:
            return nothing_of(self._order["pack"]) | {"error": str(error)}

    def _progress(self) -> object:
        """What changes while work goes on: also while states are kept, which of many lanes may take very long."""
        return self._pack and self._pack.batches_done, self._kept

    def _train(self) -> Row:
        epochs, report = list[Row](), nothing_of(self._order["pack"])
        try:
            if self._pack is None:
                self._begin(report)
            else:
                self._go_on(self._pack, report, epochs)
        except Exception as error:  # whatever broke the pack is the driver's to judge, not Tune's
            report["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            report["out_of_memory"] = memory.ran_out(error)
            self._broken = memory.is_lost()
        report["epochs"], report["trials"] = epochs_table(epochs), list({row["trial"] for row in epochs})
        report["done"] = not self._broken and not self._has_left and (bool(report["error"]) or not self._lanes_left)
        if report["done"]:
            self._pack = None
        if report["out_of_memory"] and not self._broken and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return report

    @property
    def _lanes_left(self) -> list[int]:
        return self._pack.lanes if self._pack else []

    @property
    def _has_left(self) -> bool:
        """Whether the pack was preempted and all its lanes have ended or wait for another one."""
        return self._preempted and not self._lanes_left

    def _begin(self, report: Row) -> None:
        """Says where the pack trains, before its first epoch, which may take minutes; or gives it back untrained."""
        self._preempted = self._is_preempted()
        if self._preempted:
            report["paused"] = [
                {"trial": lane["trial"], "epoch": self._order["epoch"], "seconds": lane["seconds"]}
                for lane in self._lanes
            ]
            return
        self._pack = self._build()
        report["started"].append(self._place(self._pack))

    def _go_on(self, pack: Pack, report: Row, epochs: list[Row]) -> None:
        if self._keeping:
            self._keep(pack, report)
        due = time.monotonic() + REPORT_SECONDS
        while pack.lanes and not self._pausing and time.monotonic() < due:
            began = time.monotonic()
            self._epoch(pack, report, epochs)
            self._pace.train(time.monotonic() - began)
        self._preempted = self._preempted or self._is_preempted()
        self._pausing |= self._preempted
        self._keeping = bool(pack.lanes) and (self._pausing or self._is_due(pack))
        report["keeps"] = self._keeping

    def _is_preempted(self) -> bool:
        if self._keeper is None:
            return False
        self._asked = self._asked or self._keeper.is_preempted.remote(self._order["pack"])
        try:
            answer: bool = ray.get(self._asked, timeout=ANSWER_SECONDS)
        except GetTimeoutError:
            return False
        self._asked = None
        return answer

    def _build(self) -> Pack:
        started = time.perf_counter()
        torch.set_num_threads(self._order["cpus"])
        configs = [TrainConfig.from_dict(lane["config"]) for lane in self._lanes]
        name = configs[0].dataset
        if name not in self._loaded:
            self._loaded[name] = Dataset.from_arrays(self._datasets[name])
        data, device = self._loaded[name], device_of(self._order["gpus"])
        compiled = compile_pays(configs[0], data, device)
        pack = Pack(configs, data, device=device, compiled=compiled, slots=self._order["slots"])
        if self._order["epoch"]:
            trials = [lane["trial"] for lane in self._lanes]
            found: list[Checkpoint] = ray.get(self._keeper.take.remote(trials, self._order["epoch"]))
            states = [lane_states.from_arrays(one.reached.epoch, one.plateaus, one.arrays) for one in found]
            pack.load_state_dict(lane_states.join(states))
        self._share(time.perf_counter() - started, pack.lanes)
        return pack

    def _place(self, pack: Pack) -> Row:
        fresh, self._fresh = self._fresh, False
        device = torch.cuda.get_device_name(pack.device) if pack.device.type == "cuda" else "cpu"
        return {
            "fresh": fresh,
            "node": ray.get_runtime_context().get_node_id() if ray.is_initialized() else "",
            "host": socket.gethostname(),
            "device": device,
            "dtype": str(pack.dtype).removeprefix("torch."),
            "started": self._started,
        }

    def _epoch(self, pack: Pack, report: Row, epochs: list[Row]) -> None:
        """One epoch of every lane; lanes that diverged or are done have ended and leave the pack.

        Args:
            pack: Not empty.
            report: Takes the lanes that have ended.
            epochs: Takes the rows of the epoch, before anything else can break: no lane may have ended without them.
        """
        before = remaining_before(pack, self._stopping)
        metrics = pack.train_epoch()
        epochs += [self._identity(found.lane) | epoch_row(found) for found in metrics]
        report["epoch"] = pack.epoch
        for found in metrics:
            self._share(found.seconds, [found.lane])
        failed = [found for found in metrics if found.fault]
        report["ended"] += [self._ended(found, state="failed", reason=found.fault) for found in failed]
        pack.drop(found.lane for found in failed)
        if complete := pack.complete():
            self._finish(pack, [found for found in metrics if found.lane in complete], report)
        if pack.lanes and self._stopping and is_rung(pack.epoch, self._stopping):
            self._stop(pack, metrics, before, report)

    def _stop(self, pack: Pack, metrics: list[EpochMetrics], before: dict[int, float], report: Row) -> None:
        """A rung: lanes that are not among the best of the sweep there have ended, and leave the pack half empty.

        A judge that does not answer stops nobody: a healthy pack is worth more than what the rung would save.
        """
        lanes = {self._lanes[found.lane]["trial"]: found for found in metrics if found.lane in pack.lanes}
        reached = {
            trial: {name: getattr(found, name) for name in RECORDED} | {"remaining_before": before.get(found.lane)}
            for trial, found in lanes.items()
        }
        try:
            stopped = ray.get(self._judge.judge.remote(pack.epoch, reached), timeout=self._patience_seconds)
        except GetTimeoutError:
            return
        eta = self._stopping.eta if self._stopping else 0
        reason = f"stopped after epoch {pack.epoch}: not among the best 1/{eta} of the trials that came so far"
        report["ended"] += [self._ended(lanes[trial], state="stopped", reason=reason) for trial in stopped]
        pack.drop(lanes[trial].lane for trial in stopped)
        self._pausing = bool(stopped and pack.lanes)

    def _is_due(self, pack: Pack) -> bool:
        return self._keeper is not None and self._pace.is_due(_state_bytes(pack))

    def _keep(self, pack: Pack, report: Row) -> None:
        """Sends the states of all lanes to the keeper; those of a pack that lost some at a rung go on in other packs.

        One after the other: all together they might fill the memory that the processes of a node share.
        """
        durable, size, began = self._preempted or self._is_due(pack), _state_bytes(pack), time.monotonic()
        taken = list[int]()
        for lane, state in lane_states.each(pack):
            found = self._checkpoint(lane, state)
            sent = self._keeper.keep.remote(found, waiting=self._pausing, durable=durable)
            try:
                report["unkept"] = ray.get(sent, timeout=self._patience_seconds) or report["unkept"]
            except GetTimeoutError:
                report["unkept"] = (
                    f"the process that keeps states must take one within {self._patience_seconds:g} s, but did not. "
                    "Look whether the disk of the sweep is well."
                )
                break  # the others would wait as long; they are kept the next time
            taken.append(lane)
            self._kept += 1
        if durable:
            self._pace.keep(size, time.monotonic() - began)
        if self._pausing:
            # No other pack can go on without the state of a lane, so one that was not taken goes on in this pack, half
            # empty as it is. To wait on would be a hang in the end, and the lane's training since its last file lost.
            report["paused"] = [
                {"trial": self._lanes[lane]["trial"], "epoch": pack.epoch, "seconds": self._seconds[lane]}
                for lane in taken
            ]
            pack.drop(taken)
            self._pausing = False

    def _checkpoint(self, lane: int, state: lane_states.State) -> Checkpoint:
        known = self._lanes[lane]
        reached = Reached(
            **self._identity(lane),
            epoch=state["epoch"],
            seconds=self._seconds[lane],
            started=known["started"] or self._started,
            config=fingerprint(known["config"]),
        )
        return Checkpoint(reached, state["plateaus"], lane_states.to_arrays(state))

    def _finish(self, pack: Pack, metrics: list[EpochMetrics], report: Row) -> None:
        """These lanes are through: test accuracy, masks, and their end."""
        started = time.perf_counter()
        tests = {test.lane: test for test in pack.evaluate("test")}
        self._share(time.perf_counter() - started, pack.lanes)
        for found in metrics:
            row = self._ended(found, state="finished", test=tests[found.lane])
            if not is_beaten(Objectives(dict(self._order["objectives"])).claim(row), self._order["rivals"]):
                numbers = {name: row[name] for name in (*RECORDED, "test_loss", "test_accuracy")}
                row["artifact"] = Artifact.of(pack, found.lane, numbers).to_bytes()
            report["ended"].append(row)
        pack.drop(found.lane for found in metrics)

    def _identity(self, lane: int) -> Row:
        return {"trial": self._lanes[lane]["trial"], "attempt": self._lanes[lane]["attempt"]}

    def _ended(self, found: EpochMetrics, **end: Any) -> Row:
        return self._identity(found.lane) | ended_row(found, **end) | {"seconds": self._seconds[found.lane]}

    def _share(self, seconds: float, lanes: list[int]) -> None:
        """Books time on lanes, in equal parts."""
        for lane in lanes:
            self._seconds[lane] += seconds / len(lanes)


def _state_bytes(pack: Pack) -> int:
    """About what the states of all lanes take: a score and its momentum for each weight."""
    return 2 * torch.float32.itemsize * pack.network.parameters * len(pack.lanes)

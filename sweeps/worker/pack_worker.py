"""Trains one pack after the other: one step is as many epochs as fit between two reports.

A worker knows nothing of Ray. It is called in a Ray worker process (`sweeps.worker.ray_worker`) or in the driver's own.
"""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from search_spaces.space import Stopping
from supermask import lane_states, memory
from supermask.data import Dataset
from supermask.pack import Pack
from supermask.program import compile_pays
from sweeps.results import epochs_table
from sweeps.search.halving import is_rung, remaining_before
from sweeps.worker.cadence import Cadence
from sweeps.worker.checkpoints import Checkpoint, Reached, fingerprint
from sweeps.worker.device import device_of
from sweeps.worker.messages import EndedLane, Lane, PackOrder, PackReport, PausedLane, Place, layer_rows
from sweeps.worker.networks import Network, PackNetworks
from sweeps.worker.services import Checkpoints, Judge, WorkerSettings

REPORT_SECONDS = 1.0
"""Shortest time between two reports of a pack: short epochs travel together."""

Row = dict[str, Any]


@dataclass
class _Draft:
    """A report in the making."""

    place: Place | None = None
    epochs: list[Row] = field(default_factory=list)
    epoch: int = 0
    ended: list[EndedLane] = field(default_factory=list)
    paused: list[PausedLane] = field(default_factory=list)
    keeps: bool = False
    unkept: str | None = None
    error: str | None = None
    out_of_memory: bool = False


class PackWorker:
    """Trains packs and reports every epoch.

    Checkpoints are sent at the beginning of a step, when the driver has all epochs that led to them.

    Args:
        datasets: Arrays of every dataset of the sweep by name.
        settings: Equal for all packs.
        checkpoints: The sweep's store; without one no state is kept, and no pack preempted.
        judge: Decides at rungs.
        node: Ray's name of this machine.
    """

    def __init__(
        self,
        datasets: Mapping[str, Row],
        settings: WorkerSettings,
        checkpoints: Checkpoints | None = None,
        judge: Judge | None = None,
        *,
        node: str = "",
    ) -> None:
        self._datasets, self._settings, self._checkpoints, self._judge = datasets, settings, checkpoints, judge
        self._loaded: dict[str, Dataset] = {}
        self._cadence, self._node = Cadence(settings.checkpoint_seconds), node
        self._kept, self._is_fresh = 0, True

    def take(self, order: PackOrder) -> None:
        """Takes the next pack."""
        self._order, self._lanes = order, order.lanes
        self._pack: Pack | None = None
        self._seconds = [lane.seconds for lane in order.lanes]
        self._networks = PackNetworks(self._settings.objectives, order)
        self._started = datetime.now(UTC)
        self._pausing = self._keeping = self._preempted = self._broken = False
        self._cadence.begin()

    def step(self) -> PackReport:
        """Trains until the next report is due or every lane has ended."""
        draft = _Draft()
        try:
            if self._pack is None:
                self._begin(draft)
            else:
                self._go_on(self._pack, draft)
        except Exception as error:  # whatever broke the pack is the driver's to judge
            draft.error = f"{type(error).__name__}: {error}".splitlines()[0]
            draft.out_of_memory = memory.ran_out(error)
            self._broken = memory.is_lost()
        done = not self._broken and not self.has_left and (bool(draft.error) or not self._lanes_left)
        if done:
            self._pack = None
        if draft.out_of_memory and not self._broken and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return PackReport(
            pack=self._order.number,
            place=draft.place,
            epochs=epochs_table(draft.epochs),
            epoch=draft.epoch,
            networks=self._networks.take(),
            ended=tuple(draft.ended),
            paused=tuple(draft.paused),
            keeps=draft.keeps,
            unkept=draft.unkept,
            error=draft.error,
            out_of_memory=draft.out_of_memory,
            done=done,
        )

    def hung(self, error: TimeoutError) -> PackReport:
        """The report of a pack whose step does not end; the process must."""
        self._broken = True
        return PackReport(pack=self._order.number, error=str(error))

    @property
    def is_broken(self) -> bool:
        """Whether this process can train no more: it hangs, or has lost its GPU. The next pack would break at once."""
        return self._broken

    @property
    def has_left(self) -> bool:
        """Whether the pack was preempted and all its lanes have ended or wait for another one."""
        return self._preempted and not self._lanes_left

    @property
    def progress(self) -> object:
        """What changes while work goes on: also while checkpoints are sent, which of many lanes may take very long."""
        return self._pack and self._pack.batches_done, self._kept

    @property
    def _lanes_left(self) -> list[int]:
        return self._pack.lanes if self._pack else []

    def _begin(self, draft: _Draft) -> None:
        """Says where the pack trains, before its first epoch, which may take minutes; or gives it back untrained."""
        self._preempted = self._is_preempted()
        if self._preempted:
            draft.paused = [PausedLane(lane.trial, lane.epoch, lane.seconds) for lane in self._lanes]
            return
        self._pack = self._build()
        draft.place = self._place(self._pack)

    def _go_on(self, pack: Pack, draft: _Draft) -> None:
        if self._keeping:
            self._keep(pack, draft)
        due = time.monotonic() + REPORT_SECONDS
        while pack.lanes and not self._pausing:
            began = time.monotonic()
            self._epoch(pack, draft)
            self._cadence.train(time.monotonic() - began)
            if time.monotonic() >= due:
                break
        self._preempted = self._preempted or self._is_preempted()
        self._pausing |= self._preempted
        self._keeping = bool(pack.lanes) and (self._pausing or self._is_due(pack))
        draft.keeps = self._keeping

    def _is_preempted(self) -> bool:
        return self._checkpoints is not None and self._checkpoints.is_preempted(self._order.number)

    def _build(self) -> Pack:
        started = time.perf_counter()
        torch.set_num_threads(self._settings.cpus)
        configs = [lane.config for lane in self._lanes]
        name = configs[0].dataset
        if name not in self._loaded:
            self._loaded[name] = Dataset.from_arrays(self._datasets[name])
        data, device = self._loaded[name], device_of(self._settings.gpus)
        compiled = compile_pays(configs[0], data, device)
        pack = Pack(configs, data, device=device, compiled=compiled, slots=self._order.slots)
        if self._order.epoch and self._checkpoints:
            found = self._checkpoints.take([lane.trial for lane in self._lanes], self._order.epoch)
            self._networks.go_on([one.reached.accuracies for one in found])
            states = [lane_states.from_arrays(one.reached.epoch, one.plateaus, one.arrays) for one in found]
            pack.load_state_dict(lane_states.join(states))
        self._share(time.perf_counter() - started, pack.lanes)
        return pack

    def _place(self, pack: Pack) -> Place:
        fresh, self._is_fresh = self._is_fresh, False
        device = torch.cuda.get_device_name(pack.device) if pack.device.type == "cuda" else "cpu"
        dtype = str(pack.dtype).removeprefix("torch.")
        return Place(
            socket.gethostname(),
            device,
            dtype,
            self._started,
            classes=pack.network.classes,
            node=self._node,
            is_fresh=fresh,
        )

    def _epoch(self, pack: Pack, draft: _Draft) -> None:
        """One epoch of every lane; lanes that diverged or are done have ended and leave the pack.

        Args:
            pack: Not empty.
            draft: Takes the rows of the epoch before anything else can break: no lane may have ended without them.
        """
        before = remaining_before(pack, self._settings.stopping)
        networks = self._networks.judge(pack, pack.train_epoch())
        rows = {one.lane: _epoch_row(self._lanes[one.lane], one) for one in networks}
        draft.epochs += rows.values()
        draft.epoch = pack.epoch
        for one in networks:
            self._share(one.measured.seconds, [one.lane])
        failed = [one for one in networks if one.measured.fault]
        draft.ended += [self._ended(one, "failed", reason=one.measured.fault) for one in failed]
        pack.drop(one.lane for one in failed)
        self._take_stock(pack, self._test(pack, networks, rows), draft)
        if pack.lanes and self._judge and self._settings.stopping and is_rung(pack.epoch, self._settings.stopping):
            self._stop(pack, networks, before, draft, judge=self._judge, stopping=self._settings.stopping)

    def _test(self, pack: Pack, networks: list[Network], rows: Mapping[int, Row]) -> list[Network]:
        """Reads the test set where that is due, and completes the rows of the epoch."""
        started = time.perf_counter()
        networks = self._networks.test(pack, networks)
        self._share(time.perf_counter() - started, pack.lanes)
        for one in networks:
            rows[one.lane].update(one.row)
        return networks

    def _take_stock(self, pack: Pack, networks: list[Network], draft: _Draft) -> None:
        """Keeps what may be on the front; lanes that are through have ended, and leave the pack."""
        complete = pack.complete()
        for one in networks:  # one by one: what breaks at the next must not take this one along
            self._networks.keep(pack, one)
            if one.lane in complete:
                draft.ended.append(self._ended(one, "finished"))
        pack.drop(complete)

    def _stop(
        self,
        pack: Pack,
        networks: list[Network],
        before: dict[int, float],
        draft: _Draft,
        *,
        judge: Judge,
        stopping: Stopping,
    ) -> None:
        """A rung: lanes that are not among the best of the sweep there have ended, and leave the pack half empty.

        A judge that does not answer stops nobody: a healthy pack is worth more than what the rung would save.
        """
        lanes = {self._lanes[one.lane].trial: one for one in networks if one.lane in pack.lanes}
        reached = {trial: one.row | {"remaining_before": before.get(one.lane)} for trial, one in lanes.items()}
        try:
            stopped = judge.judge(pack.epoch, reached)
        except TimeoutError:
            return
        reason = f"stopped after epoch {pack.epoch}: not among the best 1/{stopping.eta} of the trials that came so far"
        draft.ended += [self._ended(lanes[trial], "stopped", reason=reason) for trial in stopped]
        pack.drop(lanes[trial].lane for trial in stopped)
        self._pausing = bool(stopped and pack.lanes)

    def _is_due(self, pack: Pack) -> bool:
        return self._checkpoints is not None and self._cadence.is_due(_state_bytes(pack))

    def _keep(self, pack: Pack, draft: _Draft) -> None:
        """Sends the checkpoints of all lanes; those of a pack that lost some at a rung go on in other packs.

        One after the other: all together they might fill the memory that the processes of a node share.
        """
        assert self._checkpoints is not None  # noqa: S101 - `_keeping` says so
        durable, size, began = self._preempted or self._is_due(pack), _state_bytes(pack), time.monotonic()
        taken = list[int]()
        for lane, state in lane_states.each(pack):
            try:
                fault = self._checkpoints.keep(self._checkpoint(lane, state), waiting=self._pausing, durable=durable)
            except TimeoutError as error:
                draft.unkept = f"{error} Look whether the disk of the sweep is well."
                break  # the others would wait as long; they are kept the next time
            draft.unkept = fault or draft.unkept
            taken.append(lane)
            self._kept += 1
        if durable:
            self._cadence.keep(size, time.monotonic() - began)
        if self._pausing:
            # No other pack can go on without the state of a lane, so one that was not taken goes on in this pack, half
            # empty as it is. To wait on would be a hang in the end, and the lane's training since its last file lost.
            draft.paused += [PausedLane(self._lanes[lane].trial, pack.epoch, self._seconds[lane]) for lane in taken]
            pack.drop(taken)
            self._pausing = False

    def _checkpoint(self, lane: int, state: lane_states.State) -> Checkpoint:
        known = self._lanes[lane]
        reached = Reached(
            trial=known.trial,
            attempt=known.attempt,
            epoch=state["epoch"],
            seconds=self._seconds[lane],
            started=known.started or self._started,
            config=fingerprint(known.config.to_dict()),
            accuracies=self._networks.accuracies[lane],
        )
        return Checkpoint(reached, state["plateaus"], lane_states.to_arrays(state))

    def _ended(self, network: Network, state: str, *, reason: str | None = None) -> EndedLane:
        row = network.row
        lane, epoch = self._lanes[network.lane], row.pop("epoch")
        return EndedLane(
            trial=lane.trial,
            attempt=lane.attempt,
            state=state,
            reason=reason,
            epochs_done=epoch,
            **row,
            layers=network.measured.layers,
            ended=datetime.now(UTC),
            seconds=self._seconds[network.lane],
        )

    def _share(self, seconds: float, lanes: list[int]) -> None:
        """Books time on lanes, in equal parts."""
        for lane in lanes:
            self._seconds[lane] += seconds / len(lanes)


def _epoch_row(lane: Lane, network: Network) -> Row:
    """A row of `sweeps.results.EPOCHS`."""
    known = {"trial": lane.trial, "attempt": lane.attempt, "seconds": network.measured.seconds}
    return known | network.row | {"layers": layer_rows(network.measured.layers), "ended": datetime.now(UTC)}


def _state_bytes(pack: Pack) -> int:
    """About what the states of all lanes take: a score and its momentum for each weight."""
    return 2 * torch.float32.itemsize * pack.network.parameters * len(pack.lanes)

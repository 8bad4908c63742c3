"""Trains chosen trials of a sweep again with fresh seeds and keeps what they reach on the test set.

All chosen trials get the same fresh seeds, so differences between them are not those of the seeds. A seed draws the
frozen weights and the initial scores; `data_seed` stays as it was, because all lanes of a pack see the same batches.
An interval over these seeds therefore covers weights and initial scores, not the order of the batches nor the part
held out for validation. Trials are not stopped early. A lane that diverged is a result: it counts as failed and in
no mean.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from search_spaces.space import SearchSpace
from supermask.config import TrainConfig
from sweeps import confirmations, results
from sweeps.analysis import confirmed, selection
from sweeps.confirmations import CONFIRMATIONS, ConfirmationWriter
from sweeps.display.panel import count
from sweeps.driver import plan, provenance
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.executor import executing, say
from sweeps.driver.options import Options
from sweeps.driver.queue import TrialQueue, open_lanes
from sweeps.driver.running_pack import Ended
from sweeps.driver.seeds import fresh_seeds
from sweeps.driver.session import Session
from sweeps.errors import SweepError
from sweeps.figures import confirmed as pictures
from sweeps.figures import kept_mask
from sweeps.report import document
from sweeps.results import CONFIG_COLUMNS, Table
from sweeps.search.study import AskedTrial
from sweeps.signals import OrderlyEnd, deferred
from sweeps.store import lease
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking import mlflow_store
from sweeps.worker.checkpoints import take_stock
from sweeps.worker.messages import Lane
from sweeps.worker.services import WorkerSettings

MOST_SEEDS = 10_000
"""Seeds of a trial, at most."""

Row = dict[str, Any]
Key = tuple[int, int]
"""Trial and seed index."""


@dataclass(frozen=True)
class Training:
    """One chosen trial with one fresh seed.

    Attributes:
        trial: Its number in the sweep.
        seed_index: Which fresh seed, from 0.
        config: Of the trial, with that seed.
    """

    trial: int
    seed_index: int
    config: TrainConfig

    @property
    def number(self) -> int:
        """What it is called while it is trained; the same whatever else is chosen, so that checkpoints fit."""
        return MOST_SEEDS * self.trial + self.seed_index


def confirm(
    paths: SweepPaths, space: SearchSpace, options: Options, console: Console, *, select: str, seeds: int
) -> list[confirmed.Confirmed]:
    """Trains what is not trained yet, then mirrors, draws, reports and sums up.

    Args:
        paths: Of the sweep; it may be running.
        space: As it was run.
        options: How and where to train.
        console: For progress and messages.
        select: Which trials, see `sweeps.analysis.selection`.
        seeds: How many fresh seeds each.

    Returns:
        What the chosen trials reach with the first `seeds` fresh seeds, best mean test accuracy first.

    Raises:
        SweepError: If there is no such trial, another process confirms, results cannot be written, or Ctrl-C came.
        ConfigError: If a dataset is missing.
    """
    asked = selection.parse(select)
    trials = results.load(paths.root, paths.name)
    chosen = selection.select(asked, trials, space)
    used = set(trials.column("seed").drop_null().to_pylist())
    wanted = trainings(chosen, fresh_seeds(seeds, used))
    with lease.hold(paths.confirm / "sessions", what=f"sweeps confirm {paths.name}") as held:
        done = {key_of(row) for row in confirmations.load(paths.confirm).to_pylist() if has_ended(row)}
        missing = [training for training in wanted if (training.trial, training.seed_index) not in done]
        if missing:
            _train(missing, paths, space, options, console, held=held)
        rows = confirmations.load(paths.confirm).to_pylist()
        numbers = {row["trial"] for row in chosen}
        _mirror([row for row in rows if row["trial"] in numbers], paths, options, console)
        pictures.draw(paths, rows)
        document.renew(StoredSweep(paths, space), draw_mask=kept_mask.draw)
        if more := sum(row["trial"] in numbers and row["seed_index"] >= seeds for row in rows):
            text = f"{count(more, 'training')} with further seeds there, not counted here: ask for more --seeds"
            console.print(text, highlight=False, soft_wrap=True)
        held.renew(state="finished")
    return confirmed.summarise([row for row in rows if row["trial"] in numbers and row["seed_index"] < seeds])


def trainings(chosen: Iterable[Mapping[str, Any]], seeds: Sequence[int]) -> list[Training]:
    """Every chosen trial with every seed, all trials of a seed before the next: a cut leaves whole seeds."""
    # A column that an older version did not write is null: that version's trials had the field's default.
    fields = [(row["trial"], {name: row[name] for name in CONFIG_COLUMNS if row[name] is not None}) for row in chosen]
    configs = [(trial, TrainConfig.from_dict(values)) for trial, values in fields]
    return [
        Training(trial, index, dataclasses.replace(config, seed=seed))
        for index, seed in enumerate(seeds)
        for trial, config in configs
    ]


def key_of(row: Mapping[str, Any]) -> Key:
    """What a row of `CONFIRMATIONS` is about."""
    return row["trial"], row["seed_index"]


def has_ended(row: Mapping[str, Any]) -> bool:
    """Whether training again would say the same: it finished or diverged, rather than lost its worker."""
    return row["state"] == "finished" or str(row["reason"]).startswith("diverged")


def _train(
    missing: Sequence[Training],
    paths: SweepPaths,
    space: SearchSpace,
    options: Options,
    console: Console,
    *,
    held: lease.Lease,
) -> None:
    """A session with a given list of trainings."""
    datasets = plan.load_datasets(space, options)
    with executing(options, datasets, console) as executor:
        # The planner keeps packs small for a sampler to learn between their rounds; here one round is best.
        packs = plan.plan_packs(
            dataclasses.replace(space, trials=plan.ROUNDS * len(missing)), options, executor.resources, datasets
        )
        say(
            console,
            f"confirm {paths.name}: {count(len(missing), 'training')} to do, up to {count(packs.lanes, 'lane')} "
            f"a pack, {count(packs.concurrent, 'pack')} at a time",
        )
        folder = paths.confirm / "checkpoints"
        asked = [AskedTrial(training.number, training.config, 1) for training in missing]
        lanes = open_lanes(asked, take_stock(folder, asked))
        checkpoints = executor.start_store(folder, name=f"{paths.name}-confirm")
        writer = ConfirmationWriter(paths.confirm, check=held.check)
        with _Records(missing, writer, console, forget=checkpoints.forget) as records:
            queue = TrialQueue(None, lanes, trials=len(lanes), lanes=packs.lanes)
            session = Session(paths, queue, records, checkpoints, commit=provenance.commit())
            end = OrderlyEnd(packs.grace_seconds, functools.partial(say, console), is_lost=executor.is_lost)
            share = executor.share(packs, queue, most=options.packs)
            settings = WorkerSettings(cpus=packs.cpus, gpus=packs.gpus, hang_seconds=packs.hang_seconds)
            try:
                with end:
                    executor.train(Dispatcher(queue, session, share=share, end=end), packs, settings, datasets)
            except KeyboardInterrupt:
                session.interrupt()
                raise SweepError(
                    f"interrupted; what has ended is kept in {paths.confirm}. The same command goes on.", exit_code=130
                ) from None


class _Records:
    """Writes confirmations as trainings end, and shows how far they are; compacts the files at the end."""

    def __init__(
        self,
        missing: Sequence[Training],
        writer: ConfirmationWriter,
        console: Console,
        *,
        forget: Callable[[list[int]], None],
    ) -> None:
        self._trainings, self._writer, self._forget = {one.number: one for one in missing}, writer, forget
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._epochs = self._bar.add_task("epochs", total=sum(training.config.epochs for training in missing))
        self._ended = self._bar.add_task("trainings", total=len(missing))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        with deferred(), suppress(SweepError):  # another process has taken over, or the disk is full: nothing is lost
            self._writer.compact()

    def started(self, lanes: Sequence[Lane], *, pack: int) -> None:
        """See `Records`."""

    def waiting(self, lanes: Sequence[Lane]) -> None:
        """See `Records`."""

    def epochs(self, epochs: Table, *, now: bool) -> None:  # noqa: ARG002
        """See `Records`; epochs are shown and not kept."""
        self._bar.advance(self._epochs, len(epochs))

    def ended(self, ends: Sequence[Ended]) -> None:
        """See `Records`; written at once.

        Raises:
            SweepError: If that cannot be done, or another process has taken over.
        """
        rows = [row for row, _ in ends]
        self._writer.write([self._row(row) for row in rows])
        self._forget([row["trial"] for row in rows])
        self._bar.advance(self._ended, len(rows))

    def writing_failed(self, reason: str) -> None:
        """See `Records`; nothing is sampled here."""

    def _row(self, ended: Row) -> Row:
        training = self._trainings[ended["trial"]]
        known = {name: value for name, value in ended.items() if name in CONFIRMATIONS.names}
        return known | {"trial": training.trial, "seed_index": training.seed_index}


def _mirror(rows: list[Row], paths: SweepPaths, options: Options, console: Console) -> None:
    """Adds the confirmations to the runs in MLflow; says so where that cannot be done now."""
    uri = options.tracking_uri or mlflow_store.default_uri(paths.root)
    try:
        _, without = mlflow_store.send_confirmations(
            uri, paths.name, root=paths.root, confirmations=confirmed.by_trial(rows)
        )
        trouble = f"no run of trial {', '.join(map(str, without))}" if without else ""
    except SweepError as error:
        trouble = error.message
    if trouble:
        where = f"{paths.root_option}{mlflow_store.uri_option(options.tracking_uri)}"
        console.print(
            f"not in MLflow yet: {trouble}. Add it later: sweeps mlflow-sync {paths.name}{where}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

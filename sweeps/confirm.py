"""Trains chosen trials of a sweep again with fresh seeds and keeps what they reach on the test set.

All chosen trials get the same fresh seeds, so differences between them are not those of the seeds. A seed draws the
frozen weights and the initial scores; `data_seed` stays as it was, because all lanes of a pack see the same batches.
An interval over these seeds therefore covers weights and initial scores, not the order of the batches nor the part
held out for validation. Trials are not stopped early. A lane that diverged is a result: it counts as failed and in
no mean.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from search_spaces.space import SearchSpace
from supermask.config import TrainConfig
from supermask.data import Dataset
from sweeps import confirmations, results
from sweeps.analysis import confirmed, selection
from sweeps.confirmations import CONFIRMATIONS, ConfirmationWriter
from sweeps.driver import fleet, plan, provenance
from sweeps.driver.cluster import connect
from sweeps.driver.plan import Options
from sweeps.driver.queue import TrialQueue
from sweeps.driver.seeds import fresh_seeds
from sweeps.errors import SweepError
from sweeps.figures import confirmed as pictures
from sweeps.figures import kept_mask
from sweeps.report import document
from sweeps.results import CONFIG_COLUMNS
from sweeps.search.study import AskedTrial
from sweeps.signals import deferred
from sweeps.store import lease
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking import mlflow_store

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


class Trainings:
    """The open trainings as `TrialQueue` asks for them, numbered in their order."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._trainings = trainings
        self.asked = len(trainings)

    def ask(self) -> AskedTrial:
        """Nothing is sampled: every training was asked before."""
        raise NotImplementedError

    def open_trials(self) -> list[AskedTrial]:
        """All of them."""
        return [AskedTrial(number, training.config, 0) for number, training in enumerate(self._trainings)]


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
            text = f"{_count(more, 'training')} with further seeds there, not counted here: ask for more --seeds"
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
    datasets = plan.load_datasets(space, options)
    writer, commit = ConfirmationWriter(paths.confirm, check=held.check), provenance.commit()
    with connect(options.address, datasets) as resources:
        # The planner keeps packs small for a sampler to learn between their rounds; here one round is best.
        packs = plan.plan_packs(
            dataclasses.replace(space, trials=plan.ROUNDS * len(missing)), options, resources, datasets
        )
        console.print(
            f"confirm {paths.name}: {_count(len(missing), 'training')} to do, up to {_count(packs.lanes, 'lane')} "
            f"a pack, {_count(packs.concurrent, 'pack')} at a time",
            highlight=False,
            soft_wrap=True,
        )
        try:
            for rows in _ended(missing, packs, datasets, console):
                with deferred():
                    writer.write([{"commit": commit} | row for row in rows])
        except KeyboardInterrupt:
            raise SweepError(
                f"interrupted; what has ended is kept in {paths.confirm}. The same command goes on.", exit_code=130
            ) from None
        finally:
            with deferred():
                try:
                    held.check()
                except SweepError:
                    pass  # the files are another process's now
                else:
                    writer.compact()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _ended(
    missing: Sequence[Training], packs: plan.PackPlan, datasets: dict[str, Dataset], console: Console
) -> Iterator[list[Row]]:
    """Rows of `CONFIRMATIONS`, as trainings end; shows how far they are."""
    queue = TrialQueue(Trainings(missing), trials=len(missing), lanes=packs.lanes)
    with _progress(console) as bar:
        epochs_bar = bar.add_task("epochs", total=sum(training.config.epochs for training in missing))
        task = bar.add_task("trainings", total=len(missing))
        for epochs, ended in fleet.train(queue, packs, datasets):
            bar.advance(epochs_bar, epochs)
            bar.advance(task, len(ended))
            if ended:
                yield [_row(missing[row["trial"]], row) for row in ended]


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _row(training: Training, ended: Row) -> Row:
    known = {name: value for name, value in ended.items() if name in CONFIRMATIONS.names}
    about = {"trial": training.trial, "seed_index": training.seed_index, **training.config.to_dict()}
    return {"epochs_done": 0} | known | about


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

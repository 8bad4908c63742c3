"""Trains chosen networks of a sweep again with fresh seeds and keeps what they reach on the test set.

All chosen networks get the same fresh seeds, so differences between them are not those of the seeds. A seed draws the
frozen weights and the initial scores; `data_seed` stays as it was, because all lanes of a pack see the same batches.
An interval over these seeds therefore covers weights and initial scores, not the order of the batches nor the part
held out for validation.

One training per trial and seed gives all chosen networks of the trial: each is read after its epoch, and the last one
ends the training. Trainings are not stopped early. A lane that diverged is a result: the networks that it did not reach
count as failed and in no mean.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from search_spaces.space import SearchSpace
from sweeps import confirmations, networks, results
from sweeps.analysis import confirmed, selection
from sweeps.confirmations import ConfirmationWriter
from sweeps.display.panel import count
from sweeps.driver import plan, provenance
from sweeps.driver.confirming import ConfirmationRecords, Training, goal_of, has_ended, key_of, lanes_of, trainings
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.executor import executing, say
from sweeps.driver.options import Options
from sweeps.driver.queue import TrialQueue
from sweeps.driver.seeds import fresh_seeds
from sweeps.driver.session import Session
from sweeps.errors import SweepError
from sweeps.figures import confirmed as pictures
from sweeps.figures import kept_mask
from sweeps.report import document
from sweeps.signals import OrderlyEnd
from sweeps.store import lease
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking import mlflow_store
from sweeps.worker.services import WorkerSettings

Row = dict[str, Any]


def confirm(
    paths: SweepPaths, space: SearchSpace, options: Options, console: Console, *, select: str, seeds: int
) -> list[confirmed.Confirmed]:
    """Trains what is not trained yet, then mirrors, draws, reports and sums up.

    Args:
        paths: Of the sweep; it may be running.
        space: As it was run.
        options: How and where to train.
        console: For progress and messages.
        select: Which networks, see `sweeps.analysis.selection`.
        seeds: How many fresh seeds each.

    Returns:
        What the chosen networks reach with the first `seeds` fresh seeds, best mean test accuracy first.

    Raises:
        SweepError: If there is no such network, another process confirms, results cannot be written, or Ctrl-C came.
        ConfigError: If a dataset is missing.
    """
    asked = selection.parse(select)
    trials = results.load(paths.root, paths.name, running=True)
    chosen = selection.select(asked, networks.load(paths.root, paths.name), trials, space)
    fresh = fresh_seeds(seeds, set(trials.column("seed").drop_null().to_pylist()))
    with lease.hold(paths.confirm / "sessions", what=f"sweeps confirm {paths.name}") as held:
        done = {goal_of(row) for row in confirmations.load(paths.confirm).to_pylist() if has_ended(row)}
        if missing := trainings(chosen, fresh, done):
            _train(missing, paths, space, options, console, held=held)
        everything = confirmations.load(paths.confirm).to_pylist()
        keys = {key_of(row) for row in chosen}
        rows = [row for row in everything if key_of(row) in keys]
        _mirror(rows, paths, options, console)
        pictures.draw(paths, everything)
        document.renew(StoredSweep(paths, space), draw_mask=kept_mask.draw)
        if more := sum(row["seed_index"] >= seeds for row in rows):
            text = f"{count(more, 'network')} with further seeds there, not counted here: ask for more --seeds"
            console.print(text, highlight=False, soft_wrap=True)
        held.renew(state="finished")
    return confirmed.summarise([row for row in rows if row["seed_index"] < seeds])


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
            f"confirm {paths.name}: {count(len(missing), 'training')} to do, which "
            f"{'gives' if len(missing) == 1 else 'give'} {count(sum(len(one.epochs) for one in missing), 'network')}, "
            f"up to {count(packs.lanes, 'lane')} a pack, {count(packs.concurrent, 'pack')} at a time",
        )
        folder = paths.confirm / "checkpoints"
        lanes = lanes_of(missing, folder)
        checkpoints = executor.start_store(folder, name=f"{paths.name}-confirm")
        writer = ConfirmationWriter(paths.confirm, check=held.check)
        with ConfirmationRecords(missing, lanes, writer, console, forget=checkpoints.forget) as records:
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


def _mirror(rows: list[Row], paths: SweepPaths, options: Options, console: Console) -> None:
    """Adds the confirmations to the runs in MLflow; says so where that cannot be done now."""
    uri = options.tracking_uri or mlflow_store.default_uri(paths.root)
    networks = confirmed.by_network(rows)
    try:
        _, without = mlflow_store.send_confirmations(uri, paths.name, root=paths.root, confirmations=networks)
        trouble = f"no run of network {', '.join(without)}" if without else ""
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

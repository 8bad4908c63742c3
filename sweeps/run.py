"""One session of a sweep: from a search space to its front."""

import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from search_spaces.designs import check_budget, grid_size
from search_spaces.space import SearchSpace
from supermask.data import Dataset
from sweeps import networks
from sweeps.display.panel import Display, count
from sweeps.driver import pack_size, provenance
from sweeps.driver.executor import Executor, executing, say
from sweeps.driver.log import logged
from sweeps.driver.opening import Driver, open_session
from sweeps.driver.options import Options
from sweeps.driver.plan import PackPlan, choices, load_datasets, plan_packs, worth_measuring
from sweeps.driver.viewer import Viewer
from sweeps.errors import SweepError
from sweeps.objectives import Objectives
from sweeps.search import warm_start
from sweeps.search.database import check_free
from sweeps.search.study_place import keep_url, place_of
from sweeps.search.warm_start import WarmStart
from sweeps.signals import OrderlyEnd, grace_seconds, rescued
from sweeps.store import lease
from sweeps.store.cache import uri_of
from sweeps.store.lease import Lease, read_session
from sweeps.store.paths import TEMPORARY_PREFIX, SweepPaths, check_writable, replacing
from sweeps.stored import StoredSweep
from sweeps.tracking.identity import make_id
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.mlflow_store import default_uri, redact
from sweeps.tracking.overview import overview, params
from sweeps.worker.services import WorkerSettings
from sweeps.worker.watchdog import hang_seconds

SENDING_SECONDS = 10.0
"""Time for an object store to take what a session has written that is broken off."""
MIRROR_SECONDS = {"finished": 30.0, "interrupted": 3.0, "failed": 10.0}
"""How long the end of a session waits for MLflow."""


@dataclass(frozen=True)
class Outcome:
    """How a session ended.

    Attributes:
        state: `finished`, or `interrupted` by SIGINT.
        counts: Trials of the sweep by state.
        seconds: Time of all sessions of the sweep.
        unmirrored: Rows that MLflow has not taken.
        reasons: Why trials failed, and how many.
    """

    state: str
    counts: dict[str, int]
    seconds: float
    unmirrored: int
    reasons: dict[str, int]


def run(space: SearchSpace, options: Options, console: Console) -> Outcome:
    """Starts a new sweep and works through it.

    Raises:
        SweepError: If the name is in use or the root cannot be written.
        ConfigError: If a dataset is missing or does not fit.
    """
    paths = SweepPaths(options.root, space.name)
    if paths.folder.exists():
        raise _taken(paths)
    datasets = _read(space, options, console)
    check_writable(options.root)
    learned = warm_start.collect(options.root, options.warm_start, space) if options.warm_start else None
    if options.storage:
        check_free(options.storage, space.name)
    with executing(options, datasets, console) as executor:
        plan = _plan(space, options, console, executor=executor, datasets=datasets)
        _found(paths, space, options.storage, learned)
        return _begin(_Work(paths, space, options, console, datasets, plan, executor))


def resume(space: SearchSpace, options: Options, console: Console) -> Outcome:
    """Goes on with a sweep: what has ended stays, what was cut off goes on from its checkpoint, or starts again.

    Raises:
        SweepError: If another driver is at work on it.
        ConfigError: If a dataset is missing or does not fit.
    """
    paths = SweepPaths(options.root, space.name)
    lease.refuse_if_held(paths.sessions, what=f"sweep {space.name}")
    datasets = _read(space, options, console)
    check_writable(options.root)
    with executing(options, datasets, console) as executor:
        plan = _plan(space, options, console, executor=executor, datasets=datasets)
        return _begin(_Work(paths, space, options, console, datasets, plan, executor))


def _read(space: SearchSpace, options: Options, console: Console) -> dict[str, Dataset]:
    check_budget(space)
    for check in (hang_seconds, grace_seconds):
        check()  # before anything is started
    names = ", ".join(map(str, choices(space, "dataset")))
    say(console, f"sweep {space.name}: reading {names}")
    return load_datasets(space, options)


def _found(paths: SweepPaths, space: SearchSpace, storage: str | None, learned: WarmStart | None) -> None:
    """Makes the folder of a new sweep with its space and id in it, at once: half of a sweep could not be resumed.

    Raises:
        SweepError: If another driver has taken the name meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=paths.root) as scratch:
        made = SweepPaths(Path(scratch), paths.name)
        made.folder.mkdir()
        made.space.write_text(space.to_yaml(), encoding="utf-8")
        make_id(made)
        if storage:
            keep_url(made, storage)
        if learned:
            warm_start.write(made.warm_start, learned)
        try:
            made.folder.rename(paths.folder)
        except OSError as error:
            if not paths.folder.exists():
                raise
            raise _taken(paths) from error


def _taken(paths: SweepPaths) -> SweepError:
    return SweepError(
        f"sweep {paths.name}: the name must be free, but {paths.shown} exists. "
        f"Go on with it: sweeps resume {paths.name}{paths.root_option}; or choose another name: --name OTHER."
    )


def _plan(
    space: SearchSpace, options: Options, console: Console, *, executor: Executor, datasets: dict[str, Dataset]
) -> PackPlan:
    """Packs as asked for; where that is left open and the sweep is long, with as many lanes as measured."""
    plan = plan_packs(space, options, executor.resources, datasets)
    if options.lanes or not worth_measuring(space, plan, datasets):
        return plan
    say(console, "measuring how many lanes a pack should have; --lanes N does without")
    return pack_size.measured(space, plan, datasets, executor)


@dataclass(frozen=True)
class _Work:
    """What a session is to do, and with what."""

    paths: SweepPaths
    space: SearchSpace
    options: Options
    console: Console
    datasets: dict[str, Dataset]
    plan: PackPlan
    executor: Executor

    def say(self, text: str) -> None:
        say(self.console, text)


def _begin(work: _Work) -> Outcome:
    """Takes the sweep's lease and works while it holds."""
    paths, name = work.paths, work.space.name
    with logged(paths):
        earlier = read_session(paths)
        told = {"options": to_remember(work.options), "seconds": earlier["seconds"]}
        with lease.hold(paths.sessions, what=f"sweep {name}", told=told) as held:
            return _session(work, held, earlier)


def to_remember(options: Options) -> dict[str, Any]:
    """The options that `sweeps resume` takes over: none of the machine at hand, and no address with a password."""
    uri = options.tracking_uri
    known = {
        "data": str(Path(options.data_root).absolute()) if options.data_root else None,
        "tracking_uri": uri if uri and redact(uri) == uri else None,
        "checkpoint_seconds": options.checkpoint_seconds,
    }
    return {name: value for name, value in known.items() if value is not None}


def _session(work: _Work, held: Lease, earlier: dict[str, Any]) -> Outcome:
    paths, space, plan, executor = work.paths, work.space, work.plan, work.executor
    with replacing(paths.space) as temporary:
        temporary.write_text(space.to_yaml(), encoding="utf-8")
    learned, commit = warm_start.read(paths.warm_start), provenance.commit()
    uri = work.options.tracking_uri or default_uri(paths.root)
    mirror = Mirror(uri, space.name, root=paths.root)
    end = OrderlyEnd(plan.grace_seconds, work.say, is_lost=executor.is_lost)
    driver = open_session(
        paths,
        space,
        executor,
        plan=plan,
        place=place_of(paths),
        lease=held,
        mirror=mirror,
        end=end,
        learned=learned.trials if learned else (),
        most_packs=work.options.packs,
        commit=commit,
        seconds=earlier["seconds"],
    )
    mirror.start_sweep(
        params=params(space) | {"lanes": plan.lanes}, tags={"commit": commit} if commit else {}, space=space
    )
    _announce(work, learned, ended=len({row["trial"] for row in driver.found.rows}))
    session, state = driver.session, "failed"
    settings = WorkerSettings(
        cpus=plan.cpus,
        gpus=plan.gpus,
        objectives=Objectives.of(space),
        stopping=space.stopping,
        hang_seconds=plan.hang_seconds,
        checkpoint_seconds=work.options.checkpoint_seconds,
    )
    with rescued(lambda: _break_off(work, driver, held), is_lost=executor.is_lost):
        try:
            with end, Display(_viewer(work, driver, mirror).look, work.console):
                executor.train(driver.dispatcher, plan, settings, work.datasets)
            state = "finished"
        except KeyboardInterrupt:
            session.interrupt()
            state = "interrupted"
        finally:
            driver.close(state)
            unmirrored = _conclude(work, held, mirror, state)
    return Outcome(state, session.counts, session.seconds, unmirrored, session.reasons)


def _viewer(work: _Work, driver: Driver, mirror: Mirror) -> Viewer:
    return Viewer(work.space, driver, mirror, classes=min(data.classes for data in work.datasets.values()))


def _break_off(work: _Work, driver: Driver, held: Lease) -> None:
    """Ends the process of a session whose main thread does not come back; MLflow and pictures are the next one's."""
    try:
        driver.recorder.close()
        held.end("interrupted")
        if uri_of(work.paths.root):
            time.sleep(SENDING_SECONDS)  # its thread sends what there is
        work.say(f"interrupted; Ray has gone. Go on with: sweeps resume {work.space.name}{work.paths.root_option}")
    finally:
        os._exit(130)


def _announce(work: _Work, learned: WarmStart | None, *, ended: int) -> None:
    """Says what begins; of a sweep with nothing left to do, how to go on."""
    space, plan = work.space, work.plan
    size = grid_size(space)
    trials = count(space.trials, "trial") + (f" of a grid of {size:,}" if size else "")
    work.say(
        f"sweep {space.name}: {trials}, {count(plan.lanes, 'lane')} a pack ({plan.reason}), "
        f"{count(plan.concurrent, 'pack')} at a time"
    )
    if learned:
        work.say(str(learned))
    if ended == space.trials:
        more = "" if size == space.trials else f"; for more of them: sweeps resume {space.name} --trials +20"
        work.say(f"all have ended{more}{work.paths.root_option if more else ''}")


def _conclude(work: _Work, held: Lease, mirror: Mirror, state: str) -> int:
    """Draws what was found, ends the mirror, and only then gives the sweep free: the next driver writes all of these.

    Returns:
        The number of rows that MLflow has not taken.
    """
    from sweeps.display.front import draw  # matplotlib takes a second to import
    from sweeps.figures import kept_mask
    from sweeps.report import document

    sweep = StoredSweep(work.paths, work.space)
    try:
        every, trials = sweep.networks(), sweep.trials(running=True)
        networks.keep_candidates(work.paths, work.space, every)
        if trials.num_rows:
            with suppress(OSError):  # of a full disk: the mirror is worth more than a picture
                draw(sweep, every, trials)
            document.renew(sweep, draw_mask=kept_mask.draw, state=state)
        mirror.finish(state, overview(sweep) if trials.num_rows else None)
        return mirror.close(MIRROR_SECONDS[state])
    finally:
        held.end(state)

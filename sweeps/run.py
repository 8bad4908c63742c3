"""One session of a sweep: from a search space to its front, on Ray Tune."""

import tempfile
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from search_spaces.space import SearchSpace
from supermask.data import Dataset
from sweeps import results
from sweeps.display.front import draw
from sweeps.display.panel import Display
from sweeps.driver import fleet, provenance
from sweeps.driver.cluster import beside_driver, connect, is_lost
from sweeps.driver.cluster_share import ClusterShare, MachineShare
from sweeps.driver.judge import Judge
from sweeps.driver.leaders import Leaders
from sweeps.driver.log import logged
from sweeps.driver.plan import Options, PackPlan, Resources, choices, load_datasets, plan_packs, worth_measuring
from sweeps.driver.queue import TrialQueue
from sweeps.driver.reconciliation import reconcile
from sweeps.driver.searcher import PackSearcher
from sweeps.driver.session import Session
from sweeps.driver.tuning import fit
from sweeps.driver.viewer import Viewer
from sweeps.errors import SweepError
from sweeps.figures import kept_mask
from sweeps.report import document
from sweeps.results import ResultsWriter
from sweeps.search import warm_start
from sweeps.search.database import check_free
from sweeps.search.prefetch import AskAhead
from sweeps.search.study import SweepStudy
from sweeps.search.study_place import keep_url, place_of
from sweeps.search.warm_start import WarmStart
from sweeps.signals import OrderlyEnd, grace_seconds
from sweeps.store import lease
from sweeps.store.lease import Lease, read_session
from sweeps.store.masks import MaskStore
from sweeps.store.paths import TEMPORARY_PREFIX, SweepPaths, check_writable, replacing
from sweeps.tracking.identity import make_id
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.mlflow_store import default_uri, redact
from sweeps.tracking.overview import overview, params
from sweeps.worker.checkpoint_actor import Keeper, States
from sweeps.worker.watchdog import hang_seconds

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
    say(console, f"connecting to Ray at {options.address}" if options.address else "starting Ray on this machine")
    with connect(options.address, datasets) as resources:
        plan = _plan(space, options, console, resources=resources, datasets=datasets)
        _found(paths, space, options.storage, learned)
        return _begin(_Work(paths, space, options, console, datasets, plan))


def resume(space: SearchSpace, options: Options, console: Console) -> Outcome:
    """Goes on with a sweep: what has ended stays, what was cut off goes on from its last state, or starts again.

    Raises:
        SweepError: If another driver is at work on it.
        ConfigError: If a dataset is missing or does not fit.
    """
    paths = SweepPaths(options.root, space.name)
    lease.refuse_if_held(paths.sessions, what=f"sweep {space.name}")
    datasets = _read(space, options, console)
    check_writable(options.root)
    say(console, f"connecting to Ray at {options.address}" if options.address else "starting Ray on this machine")
    with connect(options.address, datasets) as resources:
        plan = _plan(space, options, console, resources=resources, datasets=datasets)
        return _begin(_Work(paths, space, options, console, datasets, plan))


def _read(space: SearchSpace, options: Options, console: Console) -> dict[str, Dataset]:
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
    space: SearchSpace, options: Options, console: Console, *, resources: Resources, datasets: dict[str, Dataset]
) -> PackPlan:
    """Packs as asked for; where that is left open and the sweep is long, with as many lanes as measured."""
    plan = plan_packs(space, options, resources, datasets)
    if options.lanes or not worth_measuring(space, plan, datasets):
        return plan
    say(console, "measuring how many lanes a pack should have; --lanes N does without")
    return fleet.measured(space, plan, datasets)


def say(console: Console, text: str) -> None:
    """Writes a line as it is, however long."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class _Work:
    """What a session is to do, and with what."""

    paths: SweepPaths
    space: SearchSpace
    options: Options
    console: Console
    datasets: dict[str, Dataset]
    plan: PackPlan

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
    paths, space, plan = work.paths, work.space, work.plan
    with replacing(paths.space) as temporary:
        temporary.write_text(space.to_yaml(), encoding="utf-8")
    learned = warm_start.read(paths.warm_start)
    study = SweepStudy(space, place_of(paths), earlier=learned.trials if learned else (), check=held.check)
    writer = ResultsWriter(paths.folder, check=held.check)
    mirror = Mirror(work.options.tracking_uri or default_uri(paths.root), space.name, root=paths.root)
    found = reconcile(paths, study, writer)
    commit = provenance.commit()
    mirror.start_sweep(
        params=params(space) | {"lanes": plan.lanes}, tags={"commit": commit} if commit else {}, space=space
    )
    first_pack = 1 + max((row["pack"] for row in found.rows if row.get("pack") is not None), default=-1)
    ahead = AskAhead(study, trials=space.trials, settled=lambda: session.recorder.wait())  # noqa: PLW0108 - made below
    queue = TrialQueue(ahead, trials=space.trials, lanes=plan.lanes, first_pack=first_pack, reached=found.reached)
    actor_name = f"{space.name}-{uuid.uuid4().hex}" if work.options.address else None
    keeper = beside_driver(Keeper, paths.checkpoints, name=actor_name)
    states = States(keeper)
    finished = [row for row in found.rows if row["state"] == "finished"]
    masks = MaskStore(paths, space, finished)
    session = Session(
        paths,
        queue,
        study,
        writer,
        mirror,
        lease=held,
        masks=masks,
        states=states,
        leaders=Leaders(space.objectives, finished),
        commit=commit,
        ended=Counter(row["state"] for row in found.rows),
        seconds=earlier["seconds"],
    )
    _announce(work, learned, ended=len({row["trial"] for row in found.rows}))
    viewer = Viewer(space, session, mirror)
    end = OrderlyEnd(plan.grace_seconds, work.say, is_lost=is_lost)
    share = MachineShare(plan)
    if actor_name:
        share = ClusterShare(plan, states, actor_name, most=work.options.packs, queue=queue)
    searcher = partial(
        PackSearcher,
        queue,
        session,
        masks,
        cpus=plan.cpus,
        gpus=plan.gpus,
        objectives=space.objectives,
        share=share,
        end=end,
        ready=lambda: queue.ready or ahead.is_ready(plan.lanes),
        prepare=partial(ahead.prepare, plan.lanes),
    )
    state = "failed"
    try:
        with end, Display(viewer.look, work.console):
            supplies = _supplies(work, keeper)
            while not fit(searcher(), plan, supplies):
                session.lose_packs("Ray Tune broke off")
        state = "finished"
    except KeyboardInterrupt:
        session.interrupt()
        state = "interrupted"
    finally:
        ahead.close()
        session.close(state)
        unmirrored = _conclude(work, session, mirror, state)
    return Outcome(state, session.counts, session.seconds, unmirrored, session.reasons)


def _announce(work: _Work, learned: WarmStart | None, *, ended: int) -> None:
    """Says what begins; of a sweep with nothing left to do, how to go on."""
    space, plan = work.space, work.plan
    work.say(
        f"sweep {space.name}: {space.trials} trials, {plan.lanes} lanes a pack ({plan.reason}), "
        f"{plan.concurrent} pack{'s' if plan.concurrent > 1 else ''} at a time"
    )
    if learned:
        work.say(str(learned))
    if ended == space.trials:
        work.say(f"all have ended; for more of them: sweeps resume {space.name} --trials +20{work.paths.root_option}")


def _conclude(work: _Work, session: Session, mirror: Mirror, state: str) -> int:
    """Draws what was found, ends the mirror, and only then gives the sweep free: the next driver writes all of these.

    Returns:
        The number of rows that MLflow has not taken.
    """
    paths, space = work.paths, work.space
    try:
        table = results.load(paths.root, space.name)
        if table.num_rows:
            with suppress(OSError):  # of a full disk: the mirror is worth more than a picture
                draw(paths, space, table)
            document.renew(paths, space, draw_mask=kept_mask.draw, state=state)
        mirror.finish(state, overview(paths, space) if table.num_rows else None)
        return mirror.close(MIRROR_SECONDS[state])
    finally:
        session.end(state)


def _supplies(work: _Work, keeper: Any) -> dict[str, Any]:
    """What every worker needs beside its packs: the data, where states are kept, and whom to ask at a rung."""
    paths, space = work.paths, work.space
    supplies: dict[str, Any] = {
        "datasets": {name: dataset.to_arrays() for name, dataset in work.datasets.items()},
        "hang_seconds": work.plan.hang_seconds,
        "keeper": keeper,
        "checkpoint_seconds": work.options.checkpoint_seconds,
    }
    if space.stopping:
        judge = beside_driver(Judge, paths.root.absolute(), paths.name, space, space.stopping)
        supplies |= {"stopping": space.stopping, "judge": judge}
    return supplies

"""Opens a session: the one place where the parts of a driver are put together."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from search_spaces.space import SearchSpace
from sweeps import networks
from sweeps.driver.archive import NetworkArchive
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.executor import Executor
from sweeps.driver.plan import PackPlan
from sweeps.driver.queue import TrialQueue, open_lanes
from sweeps.driver.reconciliation import Found, reconcile
from sweeps.driver.recorder import Recorder
from sweeps.driver.session import Session
from sweeps.errors import SweepError
from sweeps.results import ResultsWriter
from sweeps.search.prefetch import Prefetch
from sweeps.search.study import SweepStudy
from sweeps.search.study_place import Place
from sweeps.search.warm_start import Earlier
from sweeps.signals import OrderlyEnd
from sweeps.store.lease import Lease
from sweeps.store.paths import SweepPaths
from sweeps.tracking.mirror import Mirror

ROOM_SECONDS = 600.0
"""How long the end of a session waits for a disk that cannot be written."""


@dataclass(frozen=True)
class Driver:
    """A session of a sweep, and what it works with.

    Attributes:
        paths: Of the sweep.
        found: What earlier sessions left.
        study: Told how trials ended.
        queue: Where packs come from.
        session: Which trials are in training.
        dispatcher: What an executor works through.
        recorder: Writes the results.
        prefetch: Samples trials.
    """

    paths: SweepPaths
    found: Found
    study: SweepStudy
    queue: TrialQueue
    session: Session
    dispatcher: Dispatcher
    recorder: Recorder
    prefetch: Prefetch

    def close(self, state: str) -> None:
        """Writes everything that is still in memory.

        Args:
            state: How the session ended: `finished`, `interrupted` or `failed`.

        Raises:
            SweepError: If the results cannot be written.
        """
        self.prefetch.close()
        fault = self.recorder.close(patience_seconds=0.0 if state == "interrupted" else ROOM_SECONDS)
        if fault:
            raise SweepError(
                f"{fault} What is not written yet will be trained again: make room and go on with: "
                f"sweeps resume {self.paths.name}{self.paths.root_option}",
                exit_code=1,
            )


def open_session(
    paths: SweepPaths,
    space: SearchSpace,
    executor: Executor,
    *,
    plan: PackPlan,
    place: Place,
    lease: Lease,
    mirror: Mirror,
    end: OrderlyEnd,
    learned: Iterable[Earlier] = (),
    most_packs: int | None = None,
    commit: str | None = None,
    seconds: float = 0.0,
) -> Driver:
    """Brings what earlier sessions left into agreement, and opens the next one.

    Args:
        paths: Of the sweep; its folder is there.
        space: As it is run now.
        executor: Where packs train.
        plan: How trials are packed.
        place: Where the study is.
        lease: Of the sweep; without it nothing is written.
        mirror: In MLflow.
        end: Whether the session is asked to end.
        learned: Trials of another sweep that the sampler knows.
        most_packs: Packs at a time that the user allows.
        commit: Git commit of the code, if known.
        seconds: Time that earlier sessions took.

    Raises:
        SweepError: If the study or the results cannot be read or written, or another driver has taken over.
    """
    study = SweepStudy(space, place, earlier=tuple(learned), check=lease.check)
    writer = ResultsWriter(paths.folder, check=lease.check)
    found = reconcile(paths, study, writer)
    checkpoints = executor.start_store(paths.checkpoints, name=space.name)
    executor.start_judge(paths, space)
    opened = study.open_trials()
    earlier = networks.load(paths.root, paths.name)
    archive = NetworkArchive(paths, space, earlier, in_training=[trial.number for trial in opened])
    recorder = Recorder(writer, study, mirror, archive=archive, lease=lease, forget=checkpoints.forget)
    prefetch = Prefetch(study, trials=space.trials, lanes=plan.lanes, settled=recorder.wait)
    queue = TrialQueue(
        prefetch,
        open_lanes(opened, found.reached),
        trials=space.trials,
        lanes=plan.lanes,
        first_pack=_next_pack(found.rows),
    )
    ended = Counter(row["state"] for row in found.rows)
    trained = sum(row["epochs_done"] or 0 for row in found.rows)
    session = Session(paths, queue, recorder, checkpoints, commit=commit, ended=ended, epochs=trained, seconds=seconds)
    dispatcher = Dispatcher(
        queue,
        session,
        share=executor.share(plan, queue, most=most_packs),
        end=end,
        rivals=lambda: archive.rivals,
        prefetch=prefetch,
    )
    lease.tell(session.describe)
    return Driver(paths, found, study, queue, session, dispatcher, recorder, prefetch)


def _next_pack(rows: Iterable[dict[str, Any]]) -> int:
    return 1 + max((row["pack"] for row in rows if row.get("pack") is not None), default=-1)

"""Turns a session's books into what is shown of it."""

import time

from search_spaces.space import SearchSpace
from sweeps import pareto
from sweeps.display.panel import PackView, SweepView
from sweeps.display.time_left import TimeLeft
from sweeps.display.watch import LEVELS
from sweeps.driver.opening import Driver
from sweeps.objectives import Objectives
from sweeps.pareto import Table
from sweeps.tracking.mirror import Mirror

LAG_ROWS = 1000
"""Rows on their way to MLflow from which the display says so."""


class Viewer:
    """Looks at a running session; called from the display's thread."""

    def __init__(self, space: SearchSpace, driver: Driver, mirror: Mirror, *, classes: int = 10) -> None:
        self._objectives = Objectives.of(space, classes=classes)
        self._space, self._session, self._recorder, self._mirror = space, driver.session, driver.recorder, mirror
        self._time_left = TimeLeft()
        self._known: tuple[Table | None, float | None] = (None, None)

    def look(self) -> SweepView:
        """The view of this moment."""
        session = self._session
        packs = tuple(
            PackView(
                number,
                len(pack.open),
                pack.epoch,
                pack.order.lanes[0].config.epochs,
                pack.place.text if pack.place else "",
            )
            for number, pack in list(session.packs.items())
            if pack.begun is not None
        )
        leaders = self._recorder.archive.leaders
        return SweepView(
            name=self._space.name,
            budget=self._space.trials,
            counts=session.counts,
            epochs=session.epochs(budget=self._space.trials, each=self._space.most_epochs),
            packs=packs,
            best=tuple(pareto.best_at(leaders, LEVELS)),
            hypervolume=self._volume(leaders),
            seconds=session.seconds,
            seconds_left=self._time_left.estimate(
                time.monotonic(), budget=self._space.trials, ended=sum(session.ended.values()), packs=packs
            ),
            notes=self._notes(),
        )

    def _volume(self, leaders: Table) -> float | None:
        if leaders.num_rows and leaders is not self._known[0]:
            self._known = leaders, pareto.hypervolume(leaders, self._objectives)
        return self._known[1]

    def _notes(self) -> tuple[str, ...]:
        notes = [*self._session.notes]
        notes += [f"failed: {count} x {reason}" for reason, count in list(self._session.reasons.items())]
        if self._recorder.disk_fault:
            notes.append(f"writing failed and will be retried: {self._recorder.disk_fault}")
        if self._mirror.lag > LAG_ROWS:
            notes.append(f"MLflow lags by {self._mirror.lag} rows; the sweep goes on")
        return tuple(notes)

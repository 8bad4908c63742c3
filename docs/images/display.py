"""Draws display.svg beside it: what a small sweep shows on a terminal while it runs."""

import io
import tempfile
from pathlib import Path

from rich.console import Console

from search_spaces.load import load
from sweeps import run as session
from sweeps.display.panel import SweepView, panel
from sweeps.driver.options import Options
from sweeps.driver.viewer import Viewer

SPACE = Path(__file__).parents[2] / "search_spaces" / "fcn_digits.yaml"
CHANGES = {"budget.trials": 64, "fixed.epochs": 30}


class Watched(Viewer):
    """Keeps every view."""

    views: list[SweepView] = []  # noqa: RUF012 - of the one sweep of this script

    def look(self) -> SweepView:
        """The view of this moment."""
        self.views.append(super().look())
        return self.views[-1]


def draw(view: SweepView, path: Path) -> None:
    """Writes the panel as a picture."""
    console = Console(record=True, width=88, file=io.StringIO())
    console.print(panel(view))
    console.save_svg(str(path), title="sweeps run fcn_digits", unique_id="display")


def main() -> None:
    """Runs the sweep and draws the view with the most packs in training when two thirds of the trials had ended."""
    session.Viewer = Watched
    terminal = Console(file=io.StringIO(), force_terminal=True)  # which is redrawn twice a second
    with tempfile.TemporaryDirectory() as root:
        session.run(load(SPACE, overrides=CHANGES), Options(root=Path(root), lanes=8), terminal)
    late = [view for view in Watched.views if view.counts["finished"] * 3 >= view.budget * 2 and view.packs]
    draw(max(late, key=lambda view: (len(view.packs), view.packs[0].epoch)), Path(__file__).with_name("display.svg"))


if __name__ == "__main__":
    main()

"""An output of a notebook cell that is written again and again."""

import io
from typing import Any

from rich.console import Console, RenderableType

_WIDTH = 100


class NotebookOutput:
    """Opens an output in the cell that runs; any thread may then write it."""

    def __init__(self) -> None:
        from IPython.display import display  # there wherever a notebook is

        self._handle: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def show(self, what: RenderableType) -> None:
        """Puts this in place of what the output showed before."""
        drawn = io.StringIO()
        Console(file=drawn, width=_WIDTH, color_system=None, force_jupyter=False).print(what)
        self._handle.update({"text/plain": drawn.getvalue()}, raw=True)

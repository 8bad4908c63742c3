import io
import threading
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from sweeps.display.panel import Display, PackView, SweepView, duration, line, panel

VIEW = SweepView(
    name="fcn_digits",
    budget=40,
    counts={"asked": 30, "finished": 20, "stopped": 0, "failed": 3, "running": 7, "waiting": 0},
    epochs=(312, 400),
    packs=(PackView(4, 4, 2, 10, "node7 cpu bfloat16"), PackView(5, 3, 0, 10, "")),
    best=((0.02, None), (0.05, 0.912), (0.2, 0.97654)),
    hypervolume=0.93456,
    seconds=75.0,
    seconds_left=50.4,
    notes=("failed: 3 x diverged",),
)


class Looks:
    """A view that counts how often it was looked at."""

    def __init__(self, enough: int, view: SweepView = VIEW) -> None:
        self.count, self._enough, self._view = 0, enough, view
        self.done = threading.Event()

    def __call__(self) -> SweepView:
        self.count += 1
        if self.count >= self._enough:
            self.done.set()
        return self._view


def text(shown: object, width: int = 110) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"), (0.6, "1 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (75, "1 min 15 s"), (3599.6, "1 h 0 min"),
        (3900, "1 h 5 min"), (100_000, "27 h 46 min"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_says_all_that_matters() -> None:
    assert line(VIEW) == (
        "fcn_digits: 23/40 trials | 20 finished  3 failed  7 running  312 of 400 epochs  after 1 min 15 s  "
        "about 50 s left | best accuracy, remaining <= 2 %: -  <= 5 %: 91.20 %  <= 20 %: 97.65 %  hypervolume 0.9346 | "
        "failed: 3 x diverged"
    )


def test_a_line_before_anything_is_known() -> None:
    nothing = dict.fromkeys(VIEW.counts, 0)
    view = replace(
        VIEW,
        counts=nothing,
        epochs=(0, 1),
        packs=(),
        best=((0.05, None),),
        hypervolume=None,
        seconds_left=None,
        notes=(),
    )
    assert line(view) == (
        "fcn_digits: 0/40 trials | 0 finished  0 of 1 epoch  after 1 min 15 s | "
        "best accuracy, remaining <= 5 %: -  hypervolume -"
    )


def test_the_panel_shows_packs_counts_quality_and_notes() -> None:
    shown = text(panel(VIEW))
    rows = [" ".join(row.strip("│ \n").split()) for row in shown.splitlines()]
    assert "fcn_digits" in rows[0]
    assert rows[1].startswith("trials ")
    assert "23/40" in rows[1]
    assert "20 finished 3 failed 7 running" in rows
    assert "312 of 400 epochs after 1 min 15 s about 50 s left" in rows
    assert "best accuracy, remaining <= 2 %: - <= 5 %: 91.20 % <= 20 %: 97.65 %" in rows
    assert "hypervolume 0.9346" in rows
    assert "failed: 3 x diverged" in rows
    assert "4 4 2/10 node7 cpu bfloat16" in rows
    assert "5 3 0/10" in rows


def test_a_panel_of_many_packs_stays_short() -> None:
    packs = tuple(PackView(number, 1, 1, 10, f"node{number}") for number in range(100))
    shown = text(panel(replace(VIEW, packs=packs)))
    assert "node7" in shown
    assert "node8" not in shown
    assert "and 92 more packs" in shown
    assert len(shown.splitlines()) < 20


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    view = replace(VIEW, notes=("failed: 1 x [red]bang[/blue]",))
    assert "[red]bang[/blue]" in text(panel(view))
    console = Console(file=io.StringIO(), width=40)
    look = Looks(1, view)
    with Display(look, console):
        assert look.done.wait(20)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == f"{line(view)}\n"


def test_without_a_terminal_it_prints_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.display.panel.PLAIN_SECONDS", 0.0)
    console = Console(file=io.StringIO(), width=40)
    look = Looks(2)
    with Display(look, console):
        assert look.done.wait(20)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert set(lines) == {line(VIEW)}
    assert len(lines) == look.count


def test_lines_come_seldom() -> None:
    console = Console(file=io.StringIO(), width=40)
    look = Looks(1)
    with Display(look, console):
        assert look.done.wait(20)
        assert not threading.Event().wait(1.2)
    assert look.count == 1


def test_on_a_terminal_it_shows_the_panel_and_removes_it_at_the_end() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    look = Looks(2)
    with Display(look, console):
        assert look.done.wait(20)
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert "fcn_digits" in written
    assert "23/40" in written
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")  # the cursor is back
    assert written.endswith("\x1b[1A\x1b[2K")  # and the panel is wiped


def test_the_thread_ends_with_the_block_even_on_an_error() -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(KeyboardInterrupt), Display(Looks(1), console):
        raise KeyboardInterrupt
    assert "display" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("width", [80, 160])
def test_a_panel_cuts_nothing_off(width: int) -> None:
    counts = {"asked": 100_000, "finished": 81_234, "stopped": 12_345, "failed": 123, "running": 512, "waiting": 5_786}
    packs = tuple(PackView(number, 64, 99, 100, "gpu-node-017.cluster.local cuda:0 bfloat16") for number in range(3))
    notes = ("failed: 123 x diverged", "MLflow lags by 50000 rows; the sweep goes on")
    best = ((0.02, 0.6307), (0.05, 0.912), (0.2, 0.97654))
    view = replace(VIEW, name="conv6_second", budget=100_000, counts=counts, packs=packs, notes=notes, best=best)
    shown = text(panel(view), width)
    assert "…" not in shown
    lines = [line.strip("│ ") for line in shown.splitlines()]
    assert "81234 finished  12345 stopped  123 failed  512 running  5786 waiting" in lines
    assert "best accuracy, remaining <= 2 %: 63.07 %  <= 5 %: 91.20 %  <= 20 %: 97.65 %" in lines
    assert "93702/100000" in shown
    assert sum("gpu-node-017.cluster.local cuda:0 bfloat16" in line for line in lines) == 3


def test_in_a_notebook_one_output_is_written_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, shown = list[dict[str, Any]](), list[str]()

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            assert raw
            shown.append(data["text/plain"])

    def display(data: dict[str, str], **how: Any) -> Handle:
        opened.append(how)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    look = Looks(2)
    with Display(look, Console(force_jupyter=True)):
        assert look.done.wait(20)
    assert opened == [{"raw": True, "display_id": True}]
    assert len(shown) == look.count
    assert all("23/40" in text and "fcn_digits" in text and "\x1b" not in text for text in shown)

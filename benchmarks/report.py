"""How long a report takes to write, how large it is, and how long a browser is busy while someone points at it.

The sweep is made up (`benchmarks/synthetic.py`). The browser is a Chromium without a window, which loads the page and
moves the mouse over its first chart; its own trace says how long the longest task of the page's thread took. The peer
is plotly, where it is installed (`pip install plotly`): a page of the same front chart alone, with the same points and
the same hover texts, plotly's script inside so that it works offline too.
"""

import json as json_text
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script, synthetic
from benchmarks.record import Row
from sweeps.report import document
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep

MOVES = 60
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
err = Console(stderr=True, highlight=False)


def write(paths: SweepPaths) -> float:
    """Seconds to write the report."""
    sweep = StoredSweep.at(paths)
    started = time.perf_counter()
    document.write(sweep)
    return time.perf_counter() - started


def write_peer(page: Path, file: Path) -> None:
    """The front chart of a report, drawn by plotly."""
    from plotly import graph_objects  # pyright: ignore[reportMissingImports] - only where it is installed

    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', page.read_text(), re.DOTALL)
    document: dict[str, Any] = json_text.loads(found[1] if found else "{}")
    trials, front = document["trials"], document["charts"]["front"]
    texts = [
        "<br>".join([f"trial {number}", *(f"{one['label']} {one['values'][row]}" for one in document["parameters"])])
        for row, number in enumerate(trials["number"])
    ]
    marks = graph_objects.Scatter(x=trials["x"], y=trials["y"], text=texts, mode="markers", name="trials")
    line = graph_objects.Scatter(
        x=[trials["x"][row] for row in front], y=[trials["y"][row] for row in front], mode="lines+markers", name="front"
    )
    figure = graph_objects.Figure([marks, line], layout={"xaxis": {"type": "log"}})
    figure.write_html(file, include_plotlyjs=True)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window.

    Raises:
        typer.BadParameter: If there is none.
    """
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise typer.BadParameter("a Chromium must be on the PATH, but there is none. Install it: apt install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


def busy(browser: Any, file: Path, chart: str) -> tuple[float, float]:
    """Milliseconds of the longest task while a page opens, and while the mouse moves over a chart of it."""
    page = browser.new_page(viewport={"width": 1400, "height": 900}, offline=True)
    with _traced(browser, page) as opening:
        page.goto(file.as_uri())
        page.locator(chart).first.wait_for()
        page.wait_for_timeout(500)  # what the page does after its first picture belongs to its opening
    box = page.locator(chart).first.bounding_box()
    with _traced(browser, page) as hover:
        for step in range(MOVES):
            share = (step + 0.5) / MOVES
            page.mouse.move(box["x"] + share * box["width"], box["y"] + (0.2 + 0.6 * (step % 7) / 7) * box["height"])
            page.wait_for_timeout(16)
    page.close()
    return max(opening), max(hover)


@contextmanager
def _traced(browser: Any, page: Any) -> Iterator[list[float]]:
    """The tasks of the page's own thread within, in milliseconds; filled at the end."""
    tasks = list[float]()
    browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline", "__metadata"])
    yield tasks
    events = json_text.loads(browser.stop_tracing())["traceEvents"]
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks += [
        event["dur"] / 1000
        for event in events
        if (event["pid"], event["tid"]) in threads and "RunTask" in event["name"] and "dur" in event
    ]


def versus(case: str, ours: Sequence[float], peer: Sequence[float], unit: str) -> Row:
    """A row with plotly as its peer, if it was measured."""
    if not peer:
        return record.alone(case, ours, unit=unit)
    return record.compare(case, ours, peer=peer, lower_is_better=True, unit=unit)


def measure(root: Path, trials: int, repeats: int) -> list[Row]:
    """All rows for a sweep of so many trials."""
    paths = synthetic.write(root, "made-up", trials=trials)
    seconds = [write(paths) for _ in range(repeats)]
    pages = {"#front svg": paths.report}
    if find_spec("plotly"):
        pages[".main-svg"] = root / "plotly.html"
        write_peer(paths.report, root / "plotly.html")
    found: dict[str, list[tuple[float, float]]] = {chart: [] for chart in pages}
    with chromium() as browser:
        for _ in range(repeats):
            for chart, file in pages.items():
                found[chart].append(busy(browser, file, chart))
                err.print(f"{file.name}: opening {found[chart][-1][0]:.0f} ms, hover {found[chart][-1][1]:.0f} ms")
    sizes = [[file.stat().st_size / 1e6] * repeats for file in pages.values()]
    ours, peer = found["#front svg"], found.get(".main-svg", [])
    return [
        record.alone(f"writing the report of {trials} trials", seconds, unit="seconds"),
        versus("size of the page", sizes[0], sizes[1] if peer else [], "megabytes"),
        versus("longest task on opening", [one for one, _ in ours], [one for one, _ in peer], "milliseconds"),
        versus("longest task on hover", [one for _, one in ours], [one for _, one in peer], "milliseconds"),
    ]


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small sweep, once.")] = False,
) -> None:
    """Prints seconds, megabytes and the longest tasks of the page."""
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        rows = measure(Path(folder), 2000 if quick else 100_000, 1 if quick else 5)
    if json:
        record.write(json, rows)
    Console().print(record.table(rows, unit=lambda row: row["unit"]))


if __name__ == "__main__":
    script.start(main)

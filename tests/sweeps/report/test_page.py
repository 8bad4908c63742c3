"""The report in a real browser: Debian's Chromium, offline, without a window."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from sweeps.confirmations import CONFIRMATIONS, ConfirmationWriter
from sweeps.report import document
from sweeps.report.page import as_json
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep

Row = dict[str, Any]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]
HOSTILE = (
    "</script><script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "\"quoted\" 'twice' &amp; <!-- <script>",
    "two\nlines\u2028three",
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium")


@dataclass
class Visit:
    """A page that was opened, and all that it said or asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def front(self) -> Locator:
        return self.page.locator("#front svg")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def place_of(self, network: str) -> tuple[float, float]:
        """Where a network's mark is, in pixels of the window; brings the front into it."""
        self.page.locator("#front svg").first.scroll_into_view_if_needed()
        found = self.page.evaluate(
            """name => {
                const row = rowOf.get(name), box = place("front").querySelector("svg").getBoundingClientRect();
                const point = drawings[0].points.find(one => one.row === row);
                return [box.left + point.x, box.top + point.y];
            }""",
            network,
        )
        return found[0], found[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def open_page(file: Path, *, width: int = 1400, scheme: Any = "light") -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        visit = Visit(context.new_page())
        visit.page.on("console", lambda message: visit.said.append(message.text))
        visit.page.on("pageerror", lambda error: visit.said.append(str(error)))
        visit.page.on("dialog", lambda dialog: visit.said.append(dialog.message))
        visit.page.on("request", lambda request: visit.asked.append(request.url))
        visit.page.goto(file.as_uri())
        visit.page.locator("#volume > *").first.wait_for(state="attached")
        return visit

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def rows(ended_row: Callable[..., Row]) -> list[Row]:
    """Three trials on the front (0, 1, 2), two that they beat, one stopped, one failed.

    Both epochs of a trial are equal: the first one counts.
    """
    layers = [{"name": f"linear{k}", "remaining": 0.1 * k, "inverted": 0.05 * k} for k in (1, 2, 3)]
    points = [(0.95, 0.4), (0.94, 0.1), (0.90, 0.05), (0.90, 0.5), (0.92, 0.2)]
    found = [
        ended_row(k, val_accuracy=accuracy, remaining=remaining, layers=layers, pruning_rate=0.2 + k / 10)
        for k, (accuracy, remaining) in enumerate(points)
    ]
    found.append(ended_row(5, "stopped", val_accuracy=0.91, remaining=0.3, reason="stopped after epoch 1: not best"))
    found.append(ended_row(6, "failed", val_accuracy=None, remaining=None))
    return found


@pytest.fixture
def file(tmp_path: Path, rows: list[Row], write_sweep: Callable[..., SweepPaths]) -> Path:
    paths = write_sweep(tmp_path, rows)
    return document.write(StoredSweep.at(paths))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_without_a_word_or_a_request_and_fits_every_width(
    visit: Callable[..., Visit], file: Path, scheme: str
) -> None:
    for width in (360, 800, 1400):
        shown = visit(file, width=width, scheme=scheme)
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.said == []
        assert shown.asked == [file.as_uri()]
        assert shown.page.locator(".chart svg path").count() > 10


def test_hover_shows_the_network_and_click_its_parameters_and_curves(visit: Callable[..., Visit], file: Path) -> None:
    shown = visit(file)
    assert shown.text("#trial-title") == "Network 1@1, recommended"
    tip = shown.page.locator("#front .tip")
    assert tip.is_hidden()
    shown.page.mouse.move(*shown.place_of("4@1"))
    assert tip.inner_text().splitlines()[:4] == [
        *("network 4@1", "validation accuracy (%) 92", "remaining weights (%) 20", "pruning rate 0.6")
    ]
    shown.page.mouse.click(*shown.place_of("4@1"))
    assert shown.text("#trial-title") == "Network 4@1"
    assert "estimated accuracy (%)\n92.00 ± 1.00\nvalidation accuracy (%)\n92" in shown.text("#trial")
    assert "pruning rate\n0.6" in shown.text("#trial")
    assert re.fullmatch(r"sweeps train small:4@1 --root \S+", shown.text("#trial-command"))
    assert shown.page.locator("#curves .line.chosen").count() == 2
    assert shown.page.locator("#curves path.chosen:not(.line)").count() == 2  # its epoch
    assert shown.text("#layers-text").startswith("What the mask of network 4@1 leaves")
    shown.page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_whole_numbers_keep_their_digits(
    visit: Callable[..., Visit], tmp_path: Path, rows: list[Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    rows[1] |= {"trial": 123456, "seed": 1000012, "learning_rate": 0.123456}
    paths = write_sweep(tmp_path, rows)
    shown = visit(document.write(StoredSweep.at(paths)))
    assert shown.text("#trial-title") == "Network 123456@1, recommended"
    assert "seed\n1000012" in shown.text("#trial")
    assert "learning rate\n0.1235" in shown.text("#trial")


def test_the_front_is_walked_and_chosen_by_keyboard(visit: Callable[..., Visit], file: Path) -> None:
    shown = visit(file)
    shown.front.focus()
    scrolled = shown.page.evaluate("scrollY")
    walked = []
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "End"):
        shown.page.keyboard.press(key)
        walked.append((shown.page.locator("#spoken").text_content() or "").split("\n")[0])
    assert walked == [f"network {trial}@1" for trial in (2, 1, 0, 0, 1, 0)]
    assert shown.page.evaluate("scrollY") == scrolled
    shown.page.keyboard.press("Enter")
    assert shown.text("#trial-title") == "Network 0@1, on the front"
    shown.page.keyboard.press("Escape")
    assert shown.page.locator("#front .tip").is_hidden()


def test_tab_reaches_everything_that_can_be_used(visit: Callable[..., Visit], file: Path) -> None:
    shown = visit(file)
    usable = shown.page.locator("button:visible, input:visible, select:visible, #front svg").count()
    reached = set[str]()
    for _ in range(usable + 20):
        shown.page.keyboard.press("Tab")
        reached.add(shown.page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
    assert sum(tag.startswith(("<button", "<input", "<select", "<svg")) for tag in reached) == usable


def test_a_button_of_the_table_shows_its_network(visit: Callable[..., Visit], file: Path) -> None:
    shown = visit(file, width=360)
    shown.page.get_by_role("button", name="show network 2@1").click()
    assert shown.text("#trial-title") == "Network 2@1, on the front"


def test_hostile_names_and_reasons_are_text(
    visit: Callable[..., Visit], tmp_path: Path, rows: list[Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    rows[6]["reason"], rows[5]["reason"] = HOSTILE[0], HOSTILE[3]
    layers = [{"name": HOSTILE[1], "remaining": 0.1, "inverted": 0.1}]
    for row in rows:
        row |= {"dataset": f"folder:{HOSTILE[0]}", "host": HOSTILE[1], "commit": HOSTILE[2], "layers": layers}
    paths = write_sweep(tmp_path, rows)
    shown = visit(document.write(StoredSweep.at(paths)))
    assert shown.page.evaluate("window.pwned") is None
    assert shown.said == []
    assert len(shown.asked) == 1
    assert HOSTILE[0] in shown.text("main section[aria-labelledby=endings-title]")
    assert f"folder:{HOSTILE[0]}" in shown.text("header")
    assert HOSTILE[2] in shown.text(".facts")
    assert HOSTILE[1] in shown.text("#layers")


def test_a_script_that_is_not_the_pages_own_does_not_run(visit: Callable[..., Visit], file: Path) -> None:
    shown = visit(file)
    shown.page.evaluate(
        "const own = document.createElement('script'); own.textContent = 'window.pwned = 1'; document.body.append(own)"
    )
    assert shown.page.evaluate("window.pwned") is None
    assert "Content Security Policy" in shown.said[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_json_within_a_script_ends_no_tag(text: str) -> None:
    written = as_json({text: [text]})
    assert not set("<>&") & set(written)
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json([float("nan")])


def test_dark_light_and_paper(visit: Callable[..., Visit], file: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = visit(file), visit(file, scheme="dark")
    assert light.page.evaluate(background) == "rgb(255, 255, 255)"
    assert dark.page.evaluate(background) == "rgb(21, 24, 28)"
    dark.page.emulate_media(media="print", color_scheme="dark")
    assert dark.page.evaluate(background) == "rgb(255, 255, 255)"
    assert dark.page.locator("button:visible").count() == 0
    assert dark.page.pdf().startswith(b"%PDF")


def test_every_series_has_a_shape_or_dash_of_its_own(
    visit: Callable[..., Visit], tmp_path: Path, rows: list[Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    for row in rows:
        row["dataset"] = "mnist"  # the paper has a point for it
    for name in ("left", "right", "third"):
        write_sweep(tmp_path, rows, name=name)
    paths = write_sweep(tmp_path, rows)
    others = [StoredSweep.open(paths.root, name) for name in ("left", "right", "third")]
    shown = visit(document.write(StoredSweep.at(paths), beside=others))
    looks = shown.page.evaluate(
        """[...document.querySelectorAll("#front-legend li")].map(entry => [...entry.querySelectorAll("path")].map(
            path => [path.getAttribute("d"), getComputedStyle(path).strokeDasharray, getComputedStyle(path).strokeWidth]
        ).join(" "))"""
    )
    assert len(looks) == 9
    assert len(set(looks)) == len(looks)


def test_the_interval_of_a_confirmed_network_ends_at_the_frame(
    visit: Callable[..., Visit], tmp_path: Path, rows: list[Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, rows)
    writer = ConfirmationWriter(paths.confirm)
    for seed, (accuracy, remaining) in enumerate([(0.97, 0.05), (0.6, 0.09)]):
        row = dict.fromkeys(CONFIRMATIONS.names) | {"trial": 1, "epoch": 1, "seed_index": seed, "state": "finished"}
        row |= {"dataset": "digits", "test_accuracy": accuracy, "val_accuracy": accuracy, "remaining": remaining}
        writer.write([row])
    shown = visit(document.write(StoredSweep.at(paths)))
    box = """selector => [...document.querySelectorAll(selector)].map(one => one.getBoundingClientRect()).map(
        one => [one.left, one.right, one.top, one.bottom])"""
    (whisker,) = shown.page.evaluate(box, "#front .whisker")
    (chart,) = shown.page.evaluate(box, "#front svg")
    assert chart[0] < whisker[0] < whisker[1] < chart[1]
    assert chart[2] < whisker[2] < whisker[3] < chart[3] - 20  # the axis has its numbers below


def test_the_window_leaves_networks_out_and_says_so(
    visit: Callable[..., Visit], tmp_path: Path, rows: list[Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    rows[3] |= {"val_accuracy": 0.1, "estimate": 0.1}
    paths = write_sweep(tmp_path, rows)
    shown = visit(document.write(StoredSweep.at(paths)))
    assert shown.text("#outside") == "1 of the 6 networks drawn lies outside this window."
    shown.page.get_by_label("show the whole range").check()
    assert shown.text("#outside") == ""


def test_a_sweep_without_results_says_what_to_do(
    visit: Callable[..., Visit], tmp_path: Path, rows: list[Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    for some in ([], rows[6:]):
        paths = write_sweep(tmp_path / str(len(some)), some)
        shown = visit(document.write(StoredSweep.at(paths)))
        assert shown.text("#answer") == "No network can be recommended yet"
        ended = "1 failed" if some else "no trial has ended"
        assert f"{ended}, of 6 asked for" in shown.text("header")
        assert "sweeps resume small --trials +20" in shown.text(".answer")
        assert shown.said == []


def test_the_hypervolume_of_networks_that_keep_all_weights_has_an_axis_from_0_to_1(
    visit: Callable[..., Visit], tmp_path: Path, rows: list[Row], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, [row | {"remaining": 1.0} for row in rows[:5]])
    shown = visit(document.write(StoredSweep.at(paths)))
    ticks = shown.page.locator("#volume .grid text[text-anchor=end]").all_text_contents()
    assert (ticks[0], ticks[-1]) == ("0", "1")
    assert shown.page.locator("#volume svg").get_attribute("aria-label") == "hypervolume, 0 after 10 networks"
    assert shown.said == []


@pytest.mark.parametrize(
    "objectives",
    [
        {"val_accuracy": "maximize"},
        {"val_loss": "minimize", "remaining": "minimize"},
        {"val_accuracy": "maximize", "remaining": "minimize", "inverted": "minimize"},
    ],
)
def test_other_objectives_are_drawn(
    visit: Callable[..., Visit],
    tmp_path: Path,
    rows: list[Row],
    write_sweep: Callable[..., SweepPaths],
    objectives: dict[str, str],
) -> None:
    paths = write_sweep(tmp_path, rows, objectives=objectives)
    write_sweep(tmp_path, rows, name="other", objectives=objectives)
    shown = visit(document.write(StoredSweep.at(paths), beside=[StoredSweep.open(paths.root, "other")]))
    assert shown.said == []
    assert shown.page.locator("#front svg path.own").count() > 0
    # Of three objectives the front is drawn from one side: steps between its points would mean nothing.
    lines = 2 if len(objectives) == 2 else 0
    assert shown.page.locator("#front svg path.line").count() == lines
    assert shown.page.locator("#front-legend path.line").count() == lines

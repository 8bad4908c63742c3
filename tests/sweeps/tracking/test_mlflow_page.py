"""A sweep as users browse it in MLflow: its search, its tags, and its page in a real browser."""

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Browser, Page, expect, sync_playwright

from search_spaces.load import load
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking import mlflow_store
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.overview import overview, params
from sweeps.tracking.replay import sync
from tests.sweeps.mlflow_server import free_port, server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip
REPOSITORY = Path(__file__).resolve().parents[3]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
EndedRow = Callable[..., dict[str, Any]]
Rows = list[dict[str, Any]]
FRONT = [0, 1, 2, 3, 4, 8, 9, 10, 11]


class Served(NamedTuple):
    """A sweep in a server."""

    uri: str
    paths: SweepPaths
    rows: Rows
    sync: Callable[[], int]


def make_rows(ended_row: EndedRow) -> Rows:
    """Trials whose accuracy falls with their weights; 10 and 11 are not finished, and 10 beats 5, 6 and 7."""
    rows = [ended_row(trial, val_accuracy=0.99 - 0.002 * trial, remaining=0.5 / 1.5**trial) for trial in range(10)]
    beaten = ended_row(10, "stopped", val_accuracy=0.98, remaining=0.02)
    return [*rows, beaten, ended_row(11, "failed", remaining=0.001, val_accuracy=0.1)]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    ended_row: EndedRow,
    write_sweep: Callable[..., SweepPaths],
    empty_store: Path,
) -> Iterator[Served]:
    """A server that was filled from Parquet; starting it takes some ten seconds."""
    root, port, rows = tmp_path_factory.mktemp("served"), free_port(), make_rows(ended_row)
    paths = write_sweep(root, rows)
    shutil.copy(empty_store, root)
    paths.front_png.write_bytes(PNG)
    paths.report.write_text("<h1>The report</h1>")
    uri = f"http://127.0.0.1:{port}"

    def fill() -> int:
        whole = overview(StoredSweep.at(paths))
        return sync(uri, paths.name, root=root, overview=whole)

    with server(root, port):
        assert fill() == len(rows)
        yield Served(uri, paths, rows, fill)


def runs(client: MlflowClient, sweep: str, where: str = "") -> list[Run]:
    experiment = client.get_experiment_by_name(sweep)
    assert experiment
    return list(client.search_runs([experiment.experiment_id], where))


def trials(found: list[Run]) -> list[int]:
    return sorted(int(run.data.tags["trial"]) for run in found)


def test_the_searches_that_the_documentation_shows(served: Served) -> None:
    client = MlflowClient(served.uri)
    shown = (REPOSITORY / "docs" / "mlflow.md").read_text()
    sparse, front = "metrics.best_remaining < 0.03 and metrics.best_estimate > 0.97", "tags.front LIKE '%'"
    assert f"`{sparse}`" in shown
    assert f"`{front}`" in shown
    assert trials(runs(client, "small", sparse)) == [7, 8, 9, 10]
    assert trials(runs(client, "small", front)) == FRONT
    assert {run.data.tags["front"] for run in runs(client, "small", front)} == {"1"}  # its second epoch is equal
    assert trials(runs(client, "small", "tags.state = 'failed'")) == [11]
    assert trials(runs(client, "small", "params.pruning_rate = '0.5' and metrics.remaining > 0.3")) == [0, 1]
    (parent,) = runs(client, "small", "metrics.hypervolume > 0.5 and metrics.recommended_remaining <= 0.5")
    assert parent.data.tags["role"] == "sweep"


def everything(client: MlflowClient, sweep: str, folder: Path) -> dict[str, Any]:
    """Tags, parameters, metrics and artifacts of all runs, but for what a store names by itself."""
    found: dict[str, Any] = {}
    names = {run.info.run_id: run.info.run_name for run in runs(client, sweep)}
    for run in runs(client, sweep):
        tags = run.data.tags | {"mlflow.parentRunId": names.get(run.data.tags.get("mlflow.parentRunId", ""), "")}
        files = {}
        for file in client.list_artifacts(run.info.run_id):
            (folder / run.info.run_id).mkdir(exist_ok=True)
            files[file.path] = Path(
                client.download_artifacts(run.info.run_id, file.path, str(folder / run.info.run_id))
            ).read_bytes()
        params = {name: value for name, value in run.data.params.items() if name != "lanes"}  # of a session
        found[str(run.info.run_name)] = (tags, params, run.data.metrics, files)
    return found


def test_a_server_that_is_filled_later_shows_what_the_sweep_itself_sent(
    served: Served, tmp_path: Path, empty_store: Path
) -> None:
    shutil.copy(empty_store, tmp_path)
    space = load(served.paths.space)
    uri = mlflow_store.default_uri(tmp_path)
    live = Mirror(uri, "small", root=served.paths.root, interval_seconds=0.01)
    live.start_sweep(params(space) | {"lanes": 4}, {"commit": "abc"}, space=space)
    live.trials_started([{"trial": row["trial"], "attempt": 1} for row in served.rows])
    live.mark_front({7: (1, 2), 11: (2,)})
    live.finish("finished", overview(StoredSweep(served.paths, space)))
    assert live.close(60) == 0
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    sent = everything(MlflowClient(mlflow_store.default_uri(tmp_path)), "small", here)
    filled = everything(MlflowClient(served.uri), "small", there)
    assert sent == filled
    assert set(filled["small"][3]) == {"front.png", "report.html", "space.yaml", "trials.parquet"}
    assert served.sync() == 0
    assert everything(MlflowClient(served.uri), "small", there) == filled


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


def opened(browser: Browser, address: str) -> Page:
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(address)
    return page


def test_the_address_of_the_trials_shows_all_of_them_best_first_and_the_sweep(served: Served, browser: Browser) -> None:
    page = opened(browser, mlflow_store.addresses(served.uri, "small", root=served.paths.root)["trials"])
    table = page.locator(".ag-root")
    expect(table.get_by_role("link", name="small", exact=True)).to_be_visible(timeout=60_000)
    names = [f"trial-{trial:05d}" for trial in (0, 1, 2, 3, 4, 10, 5, 6, 7, 8, 9, 11)]  # 5 and 10 are equal
    shown = table.get_by_role("link").all_inner_texts()
    assert sorted(shown) == sorted([*names, "small"])
    assert [name for name in shown if name[-1] in "01234"][:3] == names[:3]
    headings = [text.strip() for text in table.locator(".ag-header-cell").all_inner_texts()]
    assert {"Run Name", "best_estimate", "best_remaining", "learning_rate"} <= set(headings), headings
    expect(page.get_by_text("Recommended: network")).to_be_visible()
    page.close()


def test_the_address_of_the_front_shows_it_best_first(served: Served, browser: Browser) -> None:
    page = opened(browser, mlflow_store.addresses(served.uri, "small", root=served.paths.root)["front"])
    table = page.locator(".ag-root")
    expect(table.get_by_role("link", name="trial-00009")).to_be_visible(timeout=60_000)
    names = [f"trial-{trial:05d}" for trial in (0, 1, 2, 3, 4, 10, 8, 9, 11)]
    assert table.get_by_role("link").all_inner_texts() == names
    page.close()


def test_the_page_of_the_parent_shows_note_numbers_and_files(served: Served, browser: Browser) -> None:
    address = mlflow_store.addresses(served.uri, "small", root=served.paths.root)["report, files"]
    page = opened(browser, address)
    expect(page.get_by_text("sweeps confirm small --select")).to_be_visible(timeout=60_000)
    for metric in ("hypervolume", "recommended_remaining"):
        expect(page.get_by_text(metric, exact=True).first).to_be_visible()
    page.goto(address.replace("?", "/artifacts?"))
    for file in ("front.png", "report.html", "space.yaml", "trials.parquet"):
        expect(page.get_by_text(file).first).to_be_visible()
    page.close()

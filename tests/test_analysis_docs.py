"""What the pages on results and on the Python API show is true of the code, and the notebook runs."""

import re
import shlex
from pathlib import Path

import nbformat
import pytest
import typer.core
import typer.main
from nbclient import NotebookClient

from benchmarks import synthetic
from sweeps import results
from sweeps.__main__ import app

ROOT = Path(__file__).parents[1]
PAGES = {
    name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("reading-the-results.md", "python-api.md")
}
NOTEBOOK = ROOT / "examples" / "a_sweep.ipynb"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return [line.partition("#")[0].strip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two made-up sweeps in its `sweeps-out`."""
    made = tmp_path_factory.mktemp("analysis")
    for seed, name in enumerate(("demo", "other")):
        synthetic.write(made / "sweeps-out", name, trials=200, epochs=6, seed=seed)
    return made


@pytest.mark.parametrize("line", commands())
def test_every_command_runs(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(line)
    assert words[0] == "sweeps"
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    monkeypatch.chdir(folder)
    if words[1] == "confirm":  # it trains: only its words are checked
        group.commands["confirm"].make_context("confirm", words[2:])
    else:
        group.main(words[1:], standalone_mode=False)
        assert capsys.readouterr().out


def test_the_python_examples_run_one_after_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for block in blocks("python-api.md", "python"):
        exec(compile(block, "python-api.md", "exec"), names)  # noqa: S102
    assert (folder / "both.svg").exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for path in re.findall(r"\]\((?!https?://)([^)#]+)\)", PAGES[page]):
        assert (ROOT / "docs" / path).exists(), path


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # those of the kernel's own packages
def test_the_notebook_runs_a_sweep_and_reads_two(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_ROOT", str(folder / "sweeps-out"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    done = NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
    texts = "".join(output.get("text", "") for output in outputs)
    assert "recommended: network " in texts
    assert "% of the weights: " in texts
    assert any("image/png" in output.get("data", {}) for output in outputs)
    shown = [str(output.get("data", {}).get("text/plain")) for output in outputs]
    assert any(text.startswith("Outcome(state='finished'") for text in shown)
    assert any("hypervolume" in text and "trials" in text and text.startswith("\u256d") for text in shown)  # the panel
    assert results.load(folder / "sweeps-out", "small").num_rows == 4

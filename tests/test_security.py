"""What must never come in: anything that runs what it reads."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("supermask", "search_spaces", "sweeps")
FILES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "skops", "pandas"}
"""Modules that run code in what they load, or whose readers do unless told otherwise."""
YAML_LOADERS = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all", "Loader"}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is looked for
ARCHIVES = {"zipfile", "tarfile"}
"""Modules that write wherever the names in an archive say."""


def faults(source: str) -> Iterator[str]:
    """What of a module's source must not be there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in UNPICKLERS | ARCHIVES)
        elif isinstance(node, ast.Call):
            yield from _faults_of_call(node)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "yaml" and node.attr in YAML_LOADERS:
            yield f"uses yaml.{node.attr}"


def _faults_of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in ("eval", "exec", "__import__", "os.system", "os.popen", "shutil.unpack_archive"):
        yield f"calls {name}"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "calls torch.load without weights_only=True"
    if given.get("allow_pickle", "False") != "False":
        yield f"calls {name} with allow_pickle"
    if given.get("shell", "False") != "False":
        yield f"calls {name} with a shell"
    if any(EVERYWHERE in ast.unparse(value) for value in [*call.args, *(keyword.value for keyword in call.keywords)]):
        yield f"calls {name} with an address of every interface"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_nothing_runs_what_it_reads(file: Path) -> None:
    assert list(faults(file.read_text())) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import pickle", "imports pickle"),
        ("from joblib.memory import Memory", "imports joblib.memory"),
        ("def f():\n    import tarfile", "imports tarfile"),
        ("torch.load(path)", "calls torch.load without weights_only=True"),
        ("torch.load(path, weights_only=safe)", "calls torch.load without weights_only=True"),
        ("np.load(path, allow_pickle=True)", "calls np.load with allow_pickle"),
        ("yaml.load(text, yaml.SafeLoader)", "uses yaml.load"),
        ("subprocess.run(text, shell=True)", "calls subprocess.run with a shell"),
        ("eval(text)", "calls eval"),
        ("server.bind(('0.0.0.0', 80))", "calls server.bind with an address of every interface"),
    ],
)
def test_what_would_be_found(source: str, fault: str) -> None:
    assert list(faults(source)) == [fault]


@pytest.mark.parametrize(
    "source",
    ["torch.load(path, weights_only=True)", "np.load(path)", "yaml.SafeLoader(text)", "network.eval()", "import re"],
)
def test_what_may_be_there(source: str) -> None:
    assert list(faults(source)) == []

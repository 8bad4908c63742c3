"""Whether a sweep could run here: what is checked before hours are spent, each with its remedy."""

import math
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from sweeps.errors import SweepError
from sweeps.store.paths import TEMPORARY_PREFIX

if TYPE_CHECKING:
    from sweeps.driver.cluster import Node

DISTRIBUTION = "signed-supermask-sweeps"
FREE_BYTES = {"fault": 100 * 2**20, "warning": 2 * 2**30}
"""Free space of a root below which it is too little: a long sweep's Parquet, journal and masks take some 100 MB."""
SKEW_SECONDS = {"fault": 30.0, "warning": 2.0}
"""How far a node's clock may be off: times of trials come from their nodes, a lease is stale after a minute."""
MATCHING = ("ray", "torch", "numpy", "optuna")
"""Packages of which driver and nodes should have the same version; Ray insists on its own."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        check: What was looked at.
        state: `ok`, `warning` (sweeps run, but slower or less safely) or `fault`.
        found: What is there.
        remedy: What to do; empty where all is well.
    """

    check: str
    state: str
    found: str
    remedy: str = ""


def examine(
    *, root: Path, address: str | None, tracking_uri: str | None, storage: str | None, data: str | None
) -> list[Finding]:
    """Everything a sweep with these options would need.

    Args:
        root: Folder of all sweeps, or of the copies of those in an object store; need not exist yet.
        address: Of a Ray cluster; None checks this machine alone.
        tracking_uri: Of MLflow; None is the database in the root.
        storage: Database for the study; None is a journal file in the root.
        data: Folder of the datasets.
    """
    return [
        *python_and_packages(),
        *devices(),
        compiler(),
        datasets(data),
        *results(root, journal=storage is None),
        *object_store(root),
        *([study(storage)] if storage else []),
        mlflow(root, tracking_uri),
        *cluster(address),
    ]


def python_and_packages() -> Iterator[Finding]:
    """This interpreter and what is installed, against the ranges that the project is tested with."""
    try:
        wanted = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        yield Finding("packages", "warning", f"{DISTRIBUTION} is not installed", "Install it: pip install -e .")
        return
    yield _in_range(
        "python", platform.python_version(), wanted["Requires-Python"], "Use another Python: make PYTHON=python3.12."
    )
    needed = _needed(DISTRIBUTION)
    wrong = [finding for finding in map(_package, needed) if finding.state != "ok"]
    yield from wrong or [Finding("packages", "ok", f"{len(needed)} packages within their tested ranges")]


def _needed(distribution: str, extra: str = "") -> list[Requirement]:
    """What a distribution requires: always, or for an extra alone."""
    found = [Requirement(text) for text in metadata.requires(distribution) or ()]
    always = [one for one in found if not one.marker or one.marker.evaluate({"extra": ""})]
    return always if not extra else [one for one in found if one.marker and one.marker.evaluate({"extra": extra})]


def head() -> Finding:
    """Whether this head has what the extra `cluster` brings."""
    missing = set[str]()
    for package in _needed(DISTRIBUTION, "cluster"):
        parts = [package]
        for extra in package.extras:
            parts += _needed(package.name, extra)
        missing |= {part.name for part in parts if not _is_installed(part.name)}
    if not missing:
        return Finding("head", "ok", "has the packages of a cluster's head")
    lost = "without them Ray serves neither jobs nor health checks, or PostgreSQL, S3 or AWS cannot be used"
    return Finding(
        "head", "warning", f"{', '.join(sorted(missing))}: not installed; {lost}", "Run: make .venv/.installed-cluster."
    )


def _is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _package(package: Requirement) -> Finding:
    remedy = f"Install it: pip install '{package.name}{package.specifier}'."
    try:
        version = metadata.version(package.name)
    except metadata.PackageNotFoundError:
        return Finding("packages", "fault", f"{package.name} is not installed", remedy)
    return _in_range("packages", version, str(package.specifier), remedy, name=package.name)


def _in_range(check: str, version: str, tested: str, remedy: str, *, name: str = "") -> Finding:
    found = f"{name} {version}".strip()
    if SpecifierSet(tested).contains(version, prereleases=True):
        return Finding(check, "ok", f"{found}, tested with {tested}")
    return Finding(check, "fault", f"{found} is outside of {tested}", remedy)


def devices() -> Iterator[Finding]:
    """What packs would train on here."""
    import torch

    from supermask.program import default_dtype

    dtype = str(default_dtype(torch.device("cpu"))).removeprefix("torch.")
    yield Finding("cpu", "ok", f"{os.cpu_count()} cores, trains in {dtype}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            known = torch.cuda.get_device_properties(index)
            yield Finding("gpu", "ok", f"{known.name}, {known.total_memory / 2**30:.0f} GiB")
    elif Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi"):
        remedy = f"Install an NVIDIA driver for CUDA {torch.version.cuda}, or the PyTorch build for your driver."
        yield Finding("gpu", "warning", f"torch {torch.__version__} cannot use the GPU that is here", remedy)
    else:
        yield Finding("gpu", "ok", "none: packs train on CPU cores")


def compiler() -> Finding:
    """The C++ compiler, without which long sweeps on a CPU train eagerly."""
    from supermask.program import cpp_compiler

    if found := cpp_compiler():
        return Finding("compiler", "ok", found)
    remedy = "Install g++, or name a compiler in CXX."
    return Finding("compiler", "warning", "no C++ compiler: nothing is compiled, training takes longer", remedy)


def datasets(data: str | None) -> Finding:
    """The datasets that lie in the folder; the digits need none."""
    from supermask.data import ROOT_VARIABLE, folder_of, present

    folder, names = folder_of(data), present(data)
    if names:
        return Finding("data", "ok", f"{', '.join(names)} in {folder}")
    named = data or os.environ.get(ROOT_VARIABLE)
    found = f"{'no dataset' if folder.is_dir() else 'no folder'} {'in ' if folder.is_dir() else ''}{folder}"
    remedy = f"Name the folder (--data DIR or {ROOT_VARIABLE}), or allow the download: sweeps run SPACE --download."
    return Finding("data", "fault" if named else "warning", f"{found}; only digits can be trained", remedy)


def results(root: Path, *, journal: bool) -> Iterator[Finding]:
    """Whether results, and a study's journal if it is one, can be written to the root, and how much."""
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    remedy = "Choose another folder with --root DIR, or get the right to write there."
    try:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=there) as scratch:
            yield _space(root, shutil.disk_usage(there).free)
            if journal:
                yield _journal(Path(scratch) / "study.journal")
    except OSError as error:
        yield Finding("root", "fault", f"{root} cannot be written: {error.strerror}", remedy)


def _space(root: Path, free: int) -> Finding:
    found = f"{root}, {free / 2**30:.1f} GiB free"
    state = next((state for state, least in FREE_BYTES.items() if free < least), "ok")
    return Finding("root", state, found, "" if state == "ok" else "Free some space, or choose another --root DIR.")


def _journal(path: Path) -> Finding:
    from search_spaces import shipped
    from sweeps.search.study import SweepStudy

    try:
        for _ in ("made", "read again"):
            SweepStudy(shipped.find("fcn_digits"), path)
    except SweepError as error:
        found, _ = _halves(error.message)
        return Finding("study", "fault", found, "Choose a file system with locks and links for --root.")
    return Finding("study", "ok", "a study's journal can be written and read there")


def object_store(root: Path) -> Iterator[Finding]:
    """Whether the object store of a root, if it is in one, takes what is written."""
    from sweeps.remote.root import check_writable

    try:
        uri = check_writable(root)
    except SweepError as error:
        found, remedy = _halves(error.message)
        yield Finding("store", "fault", found, remedy)
        return
    if uri:
        yield Finding("store", "ok", f"{uri} can be written")


def study(storage: str) -> Finding:
    """Whether the database for the study answers."""
    from sweeps.search.database import check_free
    from sweeps.tracking.mlflow_store import redact

    try:
        check_free(storage, "")
    except SweepError as error:
        found, remedy = _halves(error.message)
        return Finding("study", "fault", found, remedy)
    return Finding("study", "ok", f"{redact(storage)} answers")


def mlflow(root: Path, uri: str | None) -> Finding:
    """Whether the store answers, and in a version that this one understands."""
    from sweeps.tracking import mlflow_store

    uri = uri or mlflow_store.default_uri(root)
    try:
        version = mlflow_store.version_of(uri)
    except SweepError as error:
        found, remedy = _halves(error.message)
        return Finding("mlflow", "fault", found, remedy)
    shown = mlflow_store.redact(uri)
    if version is None:
        return Finding("mlflow", "ok", f"{shown}: the first sweep makes it")
    own = metadata.version("mlflow")
    if version.split(".")[0] != own.split(".")[0]:
        remedy = f"Give server and driver the same version: pip install 'mlflow=={own}'."
        return Finding("mlflow", "warning", f"{shown} has version {version}, this process {own}", remedy)
    return Finding("mlflow", "ok", f"{shown}, version {version}")


def cluster(address: str | None) -> list[Finding]:
    """Ray here, or all nodes of a cluster."""
    own = metadata.version("ray")
    if address is None:
        return [Finding("ray", "ok", f"{own}, starts on this machine, on its loopback interface")]
    from sweeps.driver.cluster import connect, survey, versions

    try:
        with connect(address, {}) as resources:
            nodes = survey(MATCHING)
    except SweepError as error:
        found, remedy = _halves(error.message)
        return [Finding("ray", "fault", found, remedy)]
    return [
        Finding(
            "ray", "ok", f"{own} at {address}: {resources.cpus} cores, {resources.gpus:g} GPUs on {len(nodes)} nodes"
        ),
        *([head()] if _is_installed(DISTRIBUTION) else []),
        tokens(nodes),
        installed(nodes, versions(MATCHING)),
        clocks(nodes),
    ]


def tokens(nodes: list["Node"]) -> Finding:
    """Whether the cluster asks who comes."""
    if all(node.asks_token for node in nodes):
        return Finding("token", "ok", "the cluster asks for a token")
    remedy = "Start every node and driver with RAY_AUTH_MODE=token; ray get-auth-token --generate makes a token."
    return Finding("token", "warning", "whoever reaches the cluster's ports can run code on it", remedy)


def installed(nodes: list["Node"], own: dict[str, str]) -> Finding:
    """Whether the nodes have what the driver has."""
    others = sorted(
        f"{node.host} has {name} {node.versions.get(name, 'not installed')}, the driver {version}"
        for node in nodes
        for name, version in own.items()
        if node.versions.get(name) != version
    )
    if not others:
        return Finding("nodes", "ok", f"{', '.join(sorted({node.host for node in nodes}))}: same packages as here")
    remedy = "Install the same everywhere: pip install -c constraints.txt ."
    missing = any("not installed" in other for other in others)
    return Finding("nodes", "fault" if missing else "warning", "; ".join(others), remedy)


def clocks(nodes: list["Node"]) -> Finding:
    """How far the clocks of nodes are from the driver's."""
    worst = max(nodes, key=lambda node: abs(node.skew_seconds))
    off = abs(worst.skew_seconds)
    state = next((state for state, least in SKEW_SECONDS.items() if off >= least), "ok")
    if state == "ok":
        return Finding("clock", state, f"nodes differ from the driver by at most {math.ceil(1000 * off)} ms")
    way = "ahead of" if worst.skew_seconds > 0 else "behind"
    return Finding(
        "clock",
        state,
        f"{worst.host} is {off:.1f} s {way} the driver",
        "Run an NTP client, e.g. chrony, on every node.",
    )


def _halves(message: str) -> tuple[str, str]:
    """What was found and what to do, of a message that ends with the latter."""
    found, _, remedy = message.rpartition(". ")
    return found, remedy

"""Which MLflow store the commands about it take."""

import shutil
from collections.abc import Callable
from pathlib import Path

from sweeps.store import lease
from sweeps.store.lease import read_session, write_session
from sweeps.store.paths import SweepPaths
from sweeps.tracking import mirrored, mlflow_store


def test_the_store_of_the_last_session_is_meant_unless_another_is_named(
    tmp_path: Path,
    empty_store: Path,
    write_sweep: Callable[..., SweepPaths],
    ended_row: Callable[..., dict[str, object]],
    sweeps: Callable[..., tuple[int, str, str]],
) -> None:
    root, other = tmp_path / "root", f"sqlite:///{tmp_path}/other.db"
    shutil.copy(empty_store, tmp_path / "other.db")
    paths = write_sweep(root, [ended_row(0, "finished")])
    shutil.copy(empty_store, root / "mlflow.db")
    write_session(paths, read_session(paths) | {"options": {"tracking_uri": other}})

    code, out, errors = sweeps("mlflow-sync", paths.name, "--root", str(root))
    assert (code, out) == (0, f"1 trials, 1 runs changed in {other}\n"), errors
    assert [run.trial for run in mirrored.read(other, paths.name, root=root)] == [0]
    assert not mirrored.read(mlflow_store.default_uri(root), paths.name, root=root)
    code, out, errors = sweeps("verify", paths.name, "--root", str(root))
    assert (code, out.split(":")[0]) == (1, "0 trials, 1 MLflow runs")  # it has no study
    assert f"sweeps mlflow-sync {paths.name} --root {root} --tracking-uri {other}\n" in errors

    named = mlflow_store.default_uri(root)
    code, out, errors = sweeps("mlflow-sync", paths.name, "--root", str(root), "--tracking-uri", named)
    assert (code, out) == (0, f"1 trials, 1 runs changed in {named}\n"), errors


def test_the_mirror_of_a_sweep_that_runs_is_left_to_its_driver(
    tmp_path: Path,
    write_sweep: Callable[..., SweepPaths],
    ended_row: Callable[..., dict[str, object]],
    sweeps: Callable[..., tuple[int, str, str]],
) -> None:
    paths = write_sweep(tmp_path, [ended_row(0, "finished")])
    with lease.hold(paths.sessions, what="test"):
        code, out, errors = sweeps("mlflow-sync", paths.name, "--root", str(tmp_path))
    assert (code, out) == (2, "")
    assert errors.startswith(f"sweep {paths.name}: only one process may work on it, but process ")
    assert errors.endswith(" does. Wait for it, or stop it with SIGINT.\n")
    assert not (tmp_path / "mlflow.db").exists()

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths, check_inside, check_name, replacing, resolve_root, sweep_names


@pytest.mark.parametrize("name", ["a", "7", "fcn_mnist-2.1", "A" * 100])
def test_legal_names_come_back(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "..", ".hidden", "-x", "_x", "a b", "a\n", "größe", "A" * 101, "a\\b", "a\0"]
)
def test_names_that_could_do_harm_are_refused(name: str) -> None:
    with pytest.raises(SweepError) as caught:
        check_name(name)
    assert caught.value.message == (
        "name: must be 1 to 100 letters, digits, '.', '_' or '-', starting with a letter or a digit, "
        f"but got {name!r}. Choose a name like 'fcn_mnist-2'."
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow-artifacts"])
def test_the_mirror_is_no_sweep(name: str) -> None:
    with pytest.raises(SweepError, match=r"where the MLflow store of the root lives. Choose another name."):
        SweepPaths(Path("r"), name)


def test_root_is_the_option_else_the_variable_else_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEPS_ROOT", "from-variable")
    assert resolve_root("given") == tmp_path / "given"
    assert resolve_root(None) == tmp_path / "from-variable"
    monkeypatch.setenv("SWEEPS_ROOT", "")
    assert resolve_root(None) == tmp_path / "sweeps-out"
    monkeypatch.delenv("SWEEPS_ROOT")
    assert resolve_root(None) == tmp_path / "sweeps-out"
    assert not list(tmp_path.iterdir())


def test_root_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SweepError, match=r"must be a folder, but is a file. Choose another place with --root."):
        resolve_root(str(tmp_path / "file"))
    with pytest.raises(SweepError, match="--root: must name a folder, but got ' '"):
        resolve_root(" ")


def test_the_folder_is_laid_out_as_documented() -> None:
    paths = SweepPaths(Path("r"), "n")
    found = [
        paths.space,
        paths.journal,
        paths.sessions,
        paths.session,
        paths.trials,
        paths.epochs,
        paths.masks,
        paths.front_png,
    ]
    expected = [
        "space.yaml",
        "study.journal",
        "sessions",
        "sessions/000001.json",
        "trials",
        "epochs",
        "masks",
        "front.png",
    ]
    assert [str(path.relative_to("r/n")) for path in found] == expected


def test_sweeps_are_told_from_what_else_lies_in_the_root(tmp_path: Path) -> None:
    assert sweep_names(tmp_path / "missing") == []
    for folder in ("b/trials", "a", "c", "mlflow-artifacts/trials", "stray", ".hidden/trials"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a" / "space.yaml").write_text("")
    (tmp_path / "c" / "study.journal").write_text("")
    (tmp_path / "mlflow.db").write_text("")
    assert sweep_names(tmp_path) == ["a", "b", "c"]


def test_replacing_shows_the_new_file_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".tmp-")
        assert temporary.suffix != ".json"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["x.json"]  # noqa: PTH208


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.json", "old")]


def test_the_error_crosses_process_boundaries() -> None:
    error = pickle.loads(pickle.dumps(SweepError("x: must hold.", exit_code=1)))  # noqa: S301
    assert (str(error), error.message, error.exit_code) == ("x: must hold.", "x: must hold.", 1)


def test_a_sweep_whose_part_is_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path / "root", "given")
    check_inside(paths)
    paths.masks.mkdir(parents=True)
    (paths.folder / "latest").symlink_to("masks")
    check_inside(paths)
    paths.log.symlink_to(tmp_path / "profile")
    with pytest.raises(SweepError) as caught:
        check_inside(paths)
    assert caught.value.message == (
        f"sweep given: all of it must lie in {paths.folder}, but log.txt is a link to {tmp_path}/profile. "
        "Put the file itself there, or remove the link."
    )


def test_a_lock_that_comes_and_goes_is_no_fault(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path, "running")
    paths.folder.mkdir()
    paths.journal.touch()
    locks = "import os, sys\nwhile True: os.symlink(sys.argv[1], sys.argv[2]); os.unlink(sys.argv[2])"
    with subprocess.Popen([sys.executable, "-c", locks, paths.journal, f"{paths.journal}.lock"]) as running:
        try:
            for _ in range(20_000):
                check_inside(paths)
        finally:
            running.kill()


def test_a_root_or_a_sweep_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk/big/masks").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/big").symlink_to(tmp_path / "disk/big")
    check_inside(SweepPaths(tmp_path / "root", "big"))

"""Set-up of all tests: shapes are checked at run time, and the real data sets are found."""

import os
import subprocess
from pathlib import Path

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

REPOSITORY = Path(__file__).resolve().parents[1]
# config stays out: beartype would refuse a wrong value before TrainConfig can explain what is wrong with it.
_UNCHECKED = ("__init__", "config")
install_import_hook(
    [f"supermask.{file.stem}" for file in (REPOSITORY / "supermask").glob("*.py") if file.stem not in _UNCHECKED],
    "beartype.beartype",
)
# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("any machine", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("any machine")
# The tensors here are tiny: a second thread costs more than it gives, twenty times as much on a busy machine.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of processes that tests start
# A server of MLflow would start six processes for jobs that no test has, each of which imports MLflow.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real data sets, as `supermask.data.load(root=...)` takes it."""
    own = os.environ.get("SUPERMASK_DATA")
    if own and (Path(own).expanduser() / "MNIST/raw").is_dir():
        return Path(own).expanduser()
    shared = Path(os.environ.get("SUPERMASK_SHARED", REPOSITORY.parent / "shared"))
    script = shared / "data/unpack.sh"
    if not script.is_file():
        pytest.skip(f"no real MNIST: {script} does not exist, and SUPERMASK_DATA names no folder with MNIST/raw")
    cache = pytestconfig.cache
    folder = cache.mkdir("supermask-data") if cache else tmp_path_factory.mktemp("supermask-data")
    subprocess.run(["bash", str(script.resolve()), str(folder)], check=True, capture_output=True)
    return folder

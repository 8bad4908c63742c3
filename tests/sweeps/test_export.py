"""Trained networks for other programs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from supermask import data
from supermask.artifact import Artifact
from supermask.config import TrainConfig
from supermask.pack import Pack
from supermask.plain import plain_network
from sweeps.store.paths import SweepPaths
from sweeps.tracking import mirrored, mlflow_store, onnx_model
from sweeps.tracking.replay import sync

EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]
IMAGES = data.load("digits").test_images


def artifact(network: str = "fcn", **changes: Any) -> Artifact:
    config = TrainConfig(dataset="digits", network=network, width=0.1, batch_size=256, epochs=1, **changes)
    pack = Pack([config], data.load("digits"), dtype=torch.float32)
    pack.train_epoch()
    return Artifact.of(pack, 0, {"test_accuracy": 0.5})


@pytest.fixture(scope="module")
def trained() -> Artifact:
    return artifact()


@pytest.fixture
def sweep(trained: Artifact, sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> SweepPaths:
    """A sweep of three trials, of which one network has its masks kept."""
    paths = write_sweep(
        sweeps.folder / "sweeps-out", [ended_row(0), ended_row(1), ended_row(2, "failed", epochs_done=0)]
    )
    paths.masks.mkdir()
    (paths.masks / "1-2.safetensors").write_bytes(trained.to_bytes())
    return paths


def logits_of(found: Artifact) -> torch.Tensor:
    with torch.no_grad():
        return plain_network(found)(IMAGES)


def assert_same(found: np.ndarray, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(dim=1).numpy())


def test_an_artifact_is_copied(sweeps: Any, sweep: SweepPaths) -> None:
    done = sweeps("export", "small:1@2", "--to", "artifact")
    assert done == (0, "small-1-2.safetensors\n", "")
    assert Path("small-1-2.safetensors").read_bytes() == (sweep.masks / "1-2.safetensors").read_bytes()
    assert sweeps("export", "small-1-2.safetensors", "--to", "artifact", "--out", "again").out == "again\n"
    assert Path("again").read_bytes() == Path("small-1-2.safetensors").read_bytes()
    assert sweeps("export", "again", "--to", "torch").out == "again.pt\n"  # a file's name need not end so


def test_a_state_dict_loads_without_pickles_of_code(sweeps: Any, sweep: SweepPaths, trained: Artifact) -> None:
    assert sweeps("export", "small:1@2", "--to", "torch", "--out", "net.pt") == (0, "net.pt\n", "")
    state = torch.load("net.pt", weights_only=True)
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "linear1.weight": (30, 64),
        "linear2.weight": (10, 30),
        "linear3.weight": (10, 10),
    }
    network = plain_network(artifact(seed=9))
    network.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(network(IMAGES), logits_of(trained))


@pytest.mark.parametrize(
    ("network", "changes"),
    [("fcn", {}), ("conv2", {"method": "zhou"}), ("resnet20", {"method": "multi_prize", "stem_norm": "trained"})],
)
def test_an_onnx_model_gives_the_same(sweeps: Any, network: str, changes: dict[str, Any]) -> None:
    found = artifact(network, **changes)
    Path("net.safetensors").write_bytes(found.to_bytes())
    assert sweeps("export", "net.safetensors", "--to", "onnx") == (0, "net.onnx\n", "")
    content = Path("net.onnx").read_bytes()
    for count in (1, 3, len(IMAGES)):
        assert_same(onnx_model.run(content, IMAGES[:count].numpy()), logits_of(found)[:count])
    model = onnx_model.parse(content)
    (images,), (logits,) = model.graph.input, model.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    assert [side.dim_value or side.dim_param for side in images.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    assert str(Path(torch.__file__).parents[1]).encode() not in content  # where it was made is nobody's business
    assert not [name for name in sweeps.files() if "tmp" in name]


def test_an_onnx_model_that_differs_is_not_put_in_place(
    sweeps: Any, sweep: SweepPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = onnx_model.run
    monkeypatch.setattr(onnx_model, "run", lambda model, images: -run(model, images))
    done = sweeps("export", "small:1@2", "--to", "onnx")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "ONNX model: must classify as the network does, but got other classes for 256 of 256 images. "
        "Export it with --to torch.\n"
    )
    assert not Path("small-1-2.onnx").exists()


def test_a_file_that_is_there_is_not_written_over(sweeps: Any, sweep: SweepPaths) -> None:
    Path("small-1-2.onnx").write_text("before")
    done = sweeps("export", "small:1@2", "--to", "onnx")
    assert (done.code, done.out) == (2, "")
    text = "--out small-1-2.onnx: must be a new file, but there is one. Remove it, or choose another name.\n"
    assert done.err == text
    assert Path("small-1-2.onnx").read_text() == "before"


def test_random_images_stand_in_for_a_dataset_that_is_not_there(sweeps: Any, trained: Artifact) -> None:
    config = TrainConfig(**{**trained.config.to_dict(), "dataset": "mnist"})
    parts = (trained.input_shape, trained.classes, trained.masks, trained.values, trained.metrics)
    Path("net.safetensors").write_bytes(Artifact(config, *parts).to_bytes())
    done = sweeps("export", "net.safetensors", "--to", "onnx", "--data", "nowhere")
    assert (done.code, done.out) == (0, "net.onnx\n")
    assert done.err.startswith(
        "checked on random images, because dataset mnist cannot be used: dataset mnist: its files must lie in nowhere"
    )


def test_an_mlflow_model_loads_and_gives_the_same(
    sweeps: Any, sweep: SweepPaths, trained: Artifact, ended_row: EndedRow, epoch_rows: Any
) -> None:
    import mlflow

    uri = mlflow_store.default_uri(sweep.root)
    sync(uri, "small", root=sweep.root)
    before = mirrored.read(uri, "small", root=sweep.root, count_steps=True)
    done = sweeps("export", "small:1@2", "--to", "mlflow")
    assert (done.code, done.err) == (0, "")
    address = done.out.strip()
    mlflow.set_tracking_uri(uri)
    try:
        model = mlflow.pyfunc.load_model(address)
        found = model.predict({"images": IMAGES.numpy()})
        example = model.input_example
    finally:
        mlflow.set_tracking_uri("")
    assert example is not None
    assert_same(found["logits"], logits_of(trained))
    assert model.metadata.run_id == before[1].run_id
    schemas = (model.metadata.get_input_schema(), model.metadata.get_output_schema())
    assert [(spec.name, spec.type.name, spec.shape) for schema in schemas for spec in schema or []] == [
        ("images", "uint8", (-1, 1, 8, 8)),
        ("logits", "float32", (-1, 10)),
    ]
    np.testing.assert_array_equal(example["images"], data.load("digits").train_images[:2].numpy())
    # The run is what it was: the mirror still agrees with the study.
    assert mirrored.read(uri, "small", root=sweep.root, count_steps=True) == before

    for version in ("1", "2"):
        done = sweeps("export", "small:1@2", "--to", "mlflow", "--register", "my digits")
        assert (done.code, done.out, done.err) == (0, f"models:/my digits/{version}\n", "")
    mlflow.set_tracking_uri(uri)
    try:
        registered = mlflow.pyfunc.load_model("models:/my digits/2")
        found = registered.predict({"images": IMAGES.numpy()})
    finally:
        mlflow.set_tracking_uri("")
    assert_same(found["logits"], logits_of(trained))
    assert registered.input_example is not None
    assert registered.metadata.get_input_schema() == model.metadata.get_input_schema()
    kept = mlflow.MlflowClient(uri, uri).get_model_version("my digits", "2")
    tags = {"sweep": "small", "network": "1@2", "trial": "1", "epoch": "2"}
    assert (kept.run_id, kept.tags) == (before[1].run_id, tags)


def test_a_trial_without_a_run_cannot_have_an_mlflow_model(sweeps: Any, sweep: SweepPaths) -> None:
    done = sweeps("export", "small:1@2", "--to", "mlflow")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"MLflow store sqlite:///{sweep.root}/mlflow.db: trial 1 of sweep small must have a run, but got none. "
        "Mirror the sweep first: sweeps mlflow-sync small.\n"
    )


ERRORS = {
    "a model's name with another format": (
        ["small:1@2", "--to", "onnx", "--register", "mine"],
        "--register: goes with --to mlflow, but got --to onnx. Write --to mlflow.",
    ),
    "a model's name that MLflow refuses": (
        ["small:1@2", "--to", "mlflow", "--register", "my/digits"],
        "--register: must be a name without '/' and ':', but got 'my/digits'. Write for example --register fcn_mnist.",
    ),
    "an unknown format": (["small:1@2", "--to", "onx"], "'onx' is not one of 'artifact', 'torch', 'onnx', 'mlflow'"),
    "no format": (["small:1@2"], "--to: must say what to make of a network: artifact, torch, onnx or mlflow."),
    "neither trial nor file": (
        ["small", "--to", "torch"],
        "WHAT: must be the path of an artifact or NAME:TRIAL@EPOCH, but got 'small'. "
        "Write a sweep and one of its networks, e.g. fcn_digits:12@30, or fcn_digits:12 for that of trial 12 "
        "on the front, else its last;",
    ),
    "a trial that is no number": (
        ["small:x", "--to", "torch"],
        "WHAT: must be the path of an artifact or NAME:TRIAL@EPOCH, but got",
    ),
    "a sweep that is not there": (["smal:1", "--to", "torch"], "sweep smal: must exist under"),
    "a name that leaves the root": (
        ["../small:1", "--to", "torch"],
        "WHAT: must be the path of an artifact or NAME:TRIAL",
    ),
    "a trial that is not there": (
        ["small:7", "--to", "torch"],
        "small:7: every trial must be one of the sweep with a trained epoch, but 7 is not. There are: 0, 1.",
    ),
    "a trial that failed at once": (
        ["small:2", "--to", "torch"],
        "small:2: every trial must be one of the sweep with a",
    ),
    "an epoch that is not there": (
        ["small:1@9", "--to", "torch"],
        "small:1@9: the epoch must be one that the trial was trained for, but 1 has no epoch 9: its last one is 2. "
        "Write 1@2.",
    ),
    "masks that were not kept": (
        ["small:0", "--to", "torch"],
        "small/masks/0-1.safetensors, but they are not: a sweep keeps those of its front only. "
        "Train it: sweeps train small:0@1; that writes artifact.safetensors, which can be exported\n",
    ),
    "a file that is not there": (
        ["no.safetensors", "--to", "torch"],
        "artifact no.safetensors: must be a file that can be read, but got: No such file or directory. Check the path.",
    ),
    "a damaged file": (
        ["bad.safetensors", "--to", "onnx"],
        "artifact bad.safetensors: must match its checksum, but got other content. It is damaged: fetch or train it",
    ),
    "a folder as output": (
        ["small:1@2", "--to", "torch", "--out", "."],
        "--out .: must be a file in a folder that exists, but is not. Choose another.",
    ),
    "an output in no folder": (
        ["small:1@2", "--to", "artifact", "--out", "no/net"],
        "--out no/net: must be a file in a",
    ),
    "an output that cannot be": (
        ["small:1@2", "--to", "artifact", "--out", "/proc/net.safetensors"],
        "--out: writing /proc/net.safetensors failed: ",
    ),
    "a model's output": (
        ["small:1@2", "--to", "mlflow", "--out", "net"],
        "--out: must be left out with --to mlflow, which writes no file of its own. Remove it.",
    ),
    "a model of no trial": (
        ["good.safetensors", "--to", "mlflow"],
        "--to mlflow: a model belongs to a trial's run, but got the path good.safetensors. "
        "Name it as NAME:TRIAL@EPOCH.",
    ),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_a_fault_is_one_message_and_leaves_nothing(
    sweeps: Any, sweep: SweepPaths, trained: Artifact, fault: str
) -> None:
    content = bytearray(trained.to_bytes())
    Path("good.safetensors").write_bytes(content)
    content[-1] ^= 1
    Path("bad.safetensors").write_bytes(content)
    before = sweeps.files()
    arguments, message = ERRORS[fault]
    done = sweeps("export", *arguments)
    assert message in done.err
    assert (done.code, done.out) == (2, "")
    assert sweeps.files() == before


@pytest.mark.parametrize("to", ["onnx", "mlflow"])
def test_a_missing_package_is_named_with_the_remedy(
    sweeps: Any, sweep: SweepPaths, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = sweeps("export", "small:1@2", "--to", to)
    assert done.code == 2
    assert done.err == (
        f"--to {to}: the packages onnx, onnxruntime, onnxscript must be installed, but got no onnxruntime. "
        'Install them: pip install "signed-supermask-sweeps[onnx]".\n'
    )

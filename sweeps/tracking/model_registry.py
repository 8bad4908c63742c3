"""Trained networks as MLflow models, logged to the runs of their trials. Nothing in them is pickled: they are ONNX."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sweeps.errors import SweepError
from sweeps.objectives import Key, network_name
from sweeps.tracking import mirrored, mlflow_store, onnx_model

MODEL_NAME = "network"


def run_of(uri: str, sweep: str, trial: int, *, root: Path) -> str:
    """MLflow's name of a trial's run.

    Args:
        uri: MLflow store.
        sweep: Name of the sweep.
        trial: Number of the trial.
        root: Folder of all sweeps.

    Raises:
        SweepError: If there is none, or the store does not answer.
    """
    runs = [run.run_id for run in mirrored.read(uri, sweep, root=root) if run.trial == trial]
    if not runs:
        raise SweepError(
            f"MLflow store {mlflow_store.redact(uri)}: trial {trial} of sweep {sweep} must have a run, but got none. "
            f"Mirror the sweep first: sweeps mlflow-sync {sweep}."
        )
    return runs[0]


def tags_of(sweep: str, key: Key) -> dict[str, str]:
    """What a model is tagged with, for `log` and `register`: which network it is.

    Args:
        sweep: Name of the sweep.
        key: Trial and epoch of the network.
    """
    trial, epoch = key
    return {"sweep": sweep, "network": network_name(key), "trial": str(trial), "epoch": str(epoch)}


def check_name(name: str) -> str:
    """Returns `name` if MLflow registers models under it.

    Raises:
        SweepError: If it does not.
    """
    if not name.strip() or any(sign in name for sign in "/:"):
        raise SweepError(
            f"--register: must be a name without '/' and ':', but got {name!r}. Write for example --register fcn_mnist."
        )
    return name


def register(uri: str, model_id: str, name: str, *, tags: Mapping[str, str]) -> str:
    """Registers a logged model as the next version of a name, which is made if it is new.

    Args:
        uri: MLflow store.
        model_id: MLflow's name of the model; `log` returns its address, `models:/` and this.
        name: To register it under, see `check_name`.
        tags: Of the version, see `tags_of`.

    Returns:
        The address that `mlflow.pyfunc.load_model` takes.

    Raises:
        SweepError: If the store does not answer.
    """
    with mlflow_store.answering(uri):
        client = mlflow_store.connect(uri)
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        logged = client.get_logged_model(model_id)
        version = client.create_model_version(
            name, logged.artifact_location, logged.source_run_id, dict(tags), model_id=model_id
        )
    return f"models:/{name}/{version.version}"


def log(uri: str, run_id: str, *, model: bytes, images: np.ndarray, tags: Mapping[str, str]) -> str:
    """Logs a model, with its signature and an example of its input, to a run.

    Args:
        uri: MLflow store.
        run_id: See `run_of`.
        model: Content of an ONNX file, see `sweeps.tracking.onnx_model`.
        images: The example: uint8, `[batch, channel, height, width]`.
        tags: Of the model, see `tags_of`.

    Returns:
        The address that `mlflow.pyfunc.load_model` takes.

    Raises:
        SweepError: If the store does not answer.
    """
    with mlflow_store.answering(uri), _as_default(uri), _quiet():
        import mlflow.onnx as flavor
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec

        logits = onnx_model.run(model, images)
        inputs = TensorSpec(images.dtype, (-1, *images.shape[1:]), onnx_model.INPUT)
        outputs = TensorSpec(logits.dtype, (-1, *logits.shape[1:]), onnx_model.OUTPUT)
        client = mlflow_store.connect(uri)
        # Made here and not by MLflow, which would put it into its default experiment.
        experiment = client.get_run(run_id).info.experiment_id
        logged = client.create_logged_model(experiment, MODEL_NAME, run_id, dict(tags))
        # Not mlflow.onnx.log_model, which needs the run to be active: it would end anew, at another time.
        found = Model.log(
            None,
            flavor,
            name=MODEL_NAME,
            run_id=run_id,
            model_id=logged.model_id,
            onnx_model=onnx_model.parse(model),
            signature=ModelSignature(inputs=Schema([inputs]), outputs=Schema([outputs])),
            input_example={onnx_model.INPUT: images},
            pip_requirements=flavor.get_default_pip_requirements(),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
    return str(found.model_uri)


@contextmanager
def _as_default(uri: str) -> Iterator[None]:
    """Makes a store MLflow's default: the functions that log models know no other."""
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before or "")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps from the user what MLflow says of its own types when it is imported."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
        yield

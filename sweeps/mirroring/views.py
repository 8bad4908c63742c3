"""How MLflow's page shows a sweep when it is opened: columns, order, filter.

MLflow keeps a shared view as JSON in a tag of the experiment, and shows the one that an address names. A version of
MLflow that does not know one opens its page as it otherwise would.
"""

import json
from urllib.parse import urlencode

from search_spaces.space import SearchSpace

ALL, FRONT = "sweep", "front"
"""Names of the views: all trials, and those of the front; the best by the first objective first."""

_TAG = "mlflow.sharedViewState."
# Without it, MLflow's page opens on its part for language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


def experiment_tags(space: SearchSpace) -> dict[str, str]:
    """The tags of an experiment that make its page a sweep's."""
    metrics = dict.fromkeys(("val_accuracy", "remaining", "test_accuracy", *space.objectives))
    columns = [*(f"metrics.`{name}`" for name in metrics), *(f"params.`{name}`" for name in space.parameters)]
    first, way = next(iter(space.objectives.items()))
    view = {
        "selectedColumns": [*columns, "tags.`front`", "tags.`state`"],
        "orderByKey": f"metrics.`{first}`",
        "orderByAsc": way == "minimize",
    }
    front = view | {"searchFilter": "tags.front = 'true'"}
    return _KIND | {_TAG + ALL: json.dumps(view), _TAG + FRONT: json.dumps(front)}


def view_address(server: str, experiment: str, view: str) -> str:
    """Where a browser finds a view of an experiment."""
    chosen = urlencode({"workflowType": "machine_learning", "viewStateShareKey": view})
    return f"{server}/#/experiments/{experiment}/runs?{chosen}"


def run_address(server: str, experiment: str, run_id: str) -> str:
    """Where a browser finds a run."""
    return f"{server}/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"

"""How MLflow's page shows a sweep when it is opened: columns, order, filter.

MLflow keeps a shared view as JSON in a tag of the experiment, and shows the one that an address names. A version of
MLflow that does not know one opens its page as it otherwise would.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from search_spaces.space import SearchSpace

ALL, FRONT = "sweep", "front"
"""Names of the views: all trials below their sweep, and the front, most accurate first."""

_TAG = "mlflow.sharedViewState."
# Without it, MLflow's page opens on its part for language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


def experiment_tags(space: SearchSpace, parent_run: str) -> dict[str, str]:
    """The tags of an experiment that make its page a sweep's.

    Args:
        space: As it was run.
        parent_run: MLflow's name of the sweep's run.
    """
    metrics = ("val_accuracy", "remaining", "test_accuracy")
    columns = [f"metrics.`{name}`" for name in dict.fromkeys((*metrics, *space.objectives))]
    columns += [f"params.`{name}`" for name in space.parameters]
    columns += ["tags.`front`", "tags.`state`"]
    nested = {"selectedColumns": columns, "runsExpanded": {parent_run: True}}
    first = next(iter(space.objectives))
    order = {"orderByKey": f"metrics.`{first}`", "orderByAsc": space.objectives[first] == "minimize"}
    front = {"selectedColumns": columns, "searchFilter": "tags.front = 'true'", **order}
    return _KIND | {_TAG + ALL: _text(nested), _TAG + FRONT: _text(front)}


def address(server: str, experiment: str, view: str) -> str:
    """Where a browser finds a view of an experiment."""
    chosen = urlencode({"workflowType": "machine_learning", "viewStateShareKey": view})
    return f"{server}/#/experiments/{experiment}/runs?{chosen}"


def _text(state: Mapping[str, Any]) -> str:
    return json.dumps(state, separators=(",", ":"))

"""How MLflow's page shows a sweep when it is opened: columns, order, filter.

MLflow keeps a shared view as JSON in a tag of the experiment, and shows the one that an address names. A version of
MLflow that does not know one opens its page as it otherwise would. Sweeps of one name share an experiment, so each has
views of its own there, which show its own runs.
"""

import json
from urllib.parse import urlencode

from search_spaces.space import SearchSpace
from sweeps.objectives import Objectives, judged_by
from sweeps.results import BEST
from sweeps.tracking.identity import SWEEP_ID

ALL, FRONT = "sweep", "front"
"""Names of the views: all trials, and those with networks on the front; the best by the first objective first."""

_TAG = "mlflow.sharedViewState."
# Without it, MLflow's page opens on its part for language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


def experiment_tags(space: SearchSpace, sweep_id: str) -> dict[str, str]:
    """The tags of an experiment that make its page a sweep's."""
    own = f"tags.{SWEEP_ID} = '{sweep_id}'"
    judged = [judged_by(metric, ("estimate",)) for metric in space.objectives]
    named = [f"best_{metric}" if f"best_{metric}" in BEST else metric for metric in judged]
    shown = dict.fromkeys(("best_epoch", "best_estimate", "best_remaining", *named))
    columns = [*(f"metrics.`{name}`" for name in shown), *(f"params.`{name}`" for name in space.parameters)]
    first = next(iter(space.objectives))
    view = {
        "selectedColumns": [*columns, "tags.`front`", "tags.`state`"],
        "orderByKey": f"metrics.`{named[0]}`",
        "orderByAsc": Objectives.of(space).sign(first) > 0,
        "searchFilter": own,
    }
    front = view | {"searchFilter": f"{own} and tags.front LIKE '%'"}
    views = {_key(ALL, sweep_id): view, _key(FRONT, sweep_id): front}
    return _KIND | {_TAG + key: json.dumps(value) for key, value in views.items()}


def _key(view: str, sweep_id: str) -> str:
    return f"{view}-{sweep_id}"


def view_address(server: str, experiment: str, view: str, sweep_id: str) -> str:
    """Where a browser finds a view of an experiment."""
    chosen = urlencode({"workflowType": "machine_learning", "viewStateShareKey": _key(view, sweep_id)})
    return f"{server}/#/experiments/{experiment}/runs?{chosen}"


def run_address(server: str, experiment: str, run_id: str) -> str:
    """Where a browser finds a run."""
    return f"{server}/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"

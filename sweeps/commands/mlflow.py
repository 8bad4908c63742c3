"""The MLflow commands: open its page on a sweep, rebuild its mirror."""

from typing import Annotated

import typer

from sweeps.commands.options import Name, Root, SameUri, err, out, say
from sweeps.driver.options import or_remembered
from sweeps.remote.root import fetch, sending
from sweeps.store.paths import SweepPaths, resolve_root
from sweeps.stored import StoredSweep


def mlflow_sync(name: Name, root: Root = None, tracking_uri: SameUri = None) -> None:
    """Rebuild the mirror of a sweep in MLflow from its Parquet files; repeating it changes nothing.

    Refused while the sweep runs: its driver writes the mirror.

    Example: sweeps mlflow-sync fcn_digits --tracking-uri http://127.0.0.1:5000
    """
    from sweeps import results
    from sweeps.analysis import confirmed
    from sweeps.store import lease
    from sweeps.store.lease import read_session
    from sweeps.tracking import mlflow_store
    from sweeps.tracking.overview import overview
    from sweeps.tracking.replay import sync

    paths = fetch(SweepPaths(resolve_root(root), name), summary=True)
    # What a driver has on its way would arrive a second time.
    lease.refuse_if_held(paths.sessions, what=f"sweep {name}")
    named = or_remembered(paths, tracking_uri=tracking_uri)["tracking_uri"]
    uri = named or mlflow_store.default_uri(paths.root)
    with sending(paths, say, what="mlflow", mlflow=not named):
        sweep = StoredSweep.at(paths)
        trials = results.load(paths.root, name, columns=()).num_rows
        found, state = overview(sweep), read_session(paths)["state"]
        changed = sync(uri, name, root=paths.root, state=state, overview=found)
        rows = confirmed.by_network(sweep.confirmations().to_pylist())
        added, _ = mlflow_store.send_confirmations(uri, name, root=paths.root, confirmations=rows)
    out.print(f"{trials} trials, {changed + added} runs changed in {mlflow_store.redact(uri)}", soft_wrap=True)


def ui(
    name: Name,
    root: Root = None,
    tracking_uri: SameUri = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Start the MLflow UI on the store of a sweep and print its address; stop it with Ctrl-C.

    Example: sweeps ui fcn_digits
    """
    from sweeps.tracking import mlflow_store, page

    paths = StoredSweep.open(root, name, summary=True).paths
    named = or_remembered(paths, tracking_uri=tracking_uri)["tracking_uri"]
    if not named:
        fetch(paths, summary=True, mlflow=True)
    uri = named or mlflow_store.default_uri(paths.root)
    err.print("starting MLflow's page, about 10 s; stop it with Ctrl-C", soft_wrap=True)
    page.serve(uri, name, root=paths.root, port=port, say=_say_addresses)


def _say_addresses(addresses: dict[str, str]) -> None:
    for what, address in addresses.items():
        out.print(f"{what + ':':15}{address}", soft_wrap=True)

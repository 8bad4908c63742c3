"""An MLflow server that dies, refuses, is slow and comes back, behind an address with a password."""

from collections.abc import Iterator

import pytest

from sweeps.store.paths import SweepPaths
from sweeps.tracking import mlflow_store
from tests.faults.mlflow_server import Proxy, Server, proxy_of
from tests.sweeps.machine import SMALL, Done, Machine, machine_of

pytestmark = pytest.mark.timeout(900)

TRIALS = 12
SIZE = ("--trials", str(TRIALS), "--lanes", "2", "--in-process")
HUSHED = "hush-hush-4711"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_of(tmp_path_factory.mktemp("root")) as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[Proxy]:
    with proxy_of(server) as made:
        yield made


@pytest.fixture(scope="module")
def uri(proxy: Proxy) -> str:
    """With a password, for which the server does not ask."""
    return f"http://me:{HUSHED}@127.0.0.1:{proxy.server_port}"


@pytest.fixture(scope="module")
def shaken(machine: Machine, server: Server, proxy: Proxy, uri: str) -> Done:
    """A sweep whose server refuses, is slow, is killed and comes back meanwhile."""
    driver = machine.sweep("--name", "shaken", *SIZE, "--tracking-uri", uri, changes=[*SMALL, "fixed.epochs=300"])
    machine.wait(lambda: proxy.seen["well"] > 10, driver)
    for mode in ("refusing", "slow"):
        proxy.mode = mode
        machine.wait(lambda: proxy.seen[mode] > 0, driver)  # noqa: B023
    server.kill()
    proxy.mode, before = "well", proxy.seen["well"]
    machine.wait(lambda: proxy.seen["well"] > before, driver)  # answered by a 502: nobody is there
    server.start()
    return machine.end(driver)


@pytest.fixture(scope="module")
def alone(machine: Machine) -> Done:
    """A sweep whose server is dead from start to end."""
    nobody = f"http://me:{HUSHED}@127.0.0.1:1"
    return machine.end(machine.sweep("--name", "alone", *SIZE, "--tracking-uri", nobody, changes=SMALL))


def test_a_server_that_refuses_is_slow_and_dies_costs_no_trial_and_is_made_equal_again(
    machine: Machine, proxy: Proxy, uri: str, shaken: Done
) -> None:
    assert shaken.code == 0, shaken.err
    assert "Traceback" not in shaken.err
    log = SweepPaths(machine.root, "shaken").log.read_text()
    assert f"upload to MLflow at http://***@127.0.0.1:{proxy.server_port} failed: " in log
    done = machine("mlflow-sync", "shaken", "--tracking-uri", uri)
    assert done.code == 0, done.err
    rows = machine.check("shaken", TRIALS, uri=uri)
    assert {(row["state"], row["attempt"]) for row in rows} == {("finished", 1)}


def test_a_server_that_is_dead_from_start_to_end_costs_the_mirror_alone_which_can_be_made(
    machine: Machine, uri: str, alone: Done
) -> None:
    assert alone.code == 0, alone.err
    assert "Traceback" not in alone.err
    add = f"sweeps mlflow-sync alone --root {machine.root} --tracking-uri 'http://***@127.0.0.1:1'"
    assert f"rows are missing there; add them: {add}" in alone.err
    first = machine("mlflow-sync", "alone", "--tracking-uri", uri)
    assert first.out.startswith(f"{TRIALS} trials, {TRIALS} runs changed in http://***@127.0.0.1:"), first.err
    again = machine("mlflow-sync", "alone", "--tracking-uri", uri)
    assert again.out.startswith(f"{TRIALS} trials, 0 runs changed in "), again.err
    machine.check("alone", TRIALS, uri=uri)


def test_a_password_is_in_no_file_no_message_and_no_run(
    machine: Machine, server: Server, uri: str, shaken: Done, alone: Done
) -> None:
    files = [path for path in machine.root.rglob("*") if path.is_file()]
    assert {"space.yaml", "study.journal", "000001.json", "log.txt"} <= {path.name for path in files}
    for path in files:
        assert HUSHED.encode() not in path.read_bytes(), path
    verified = machine("verify", "shaken", "--tracking-uri", uri)
    nobody = machine("verify", "shaken", "--tracking-uri", f"http://me:{HUSHED}@127.0.0.1:1")
    assert (verified.code, nobody.code) == (0, 1)
    for name in ("shaken", "alone"):
        assert HUSHED not in repr(machine.rows(name))  # Parquet compresses
    for done in (shaken, alone, verified, nobody):
        assert HUSHED not in done.out + done.err
    client = mlflow_store.connect(f"http://127.0.0.1:{server.port}")
    experiment = client.get_experiment_by_name("shaken")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == TRIALS + 1
    assert HUSHED not in "".join(repr((run.data.tags, run.data.params, run.info)) for run in runs)

"""Lanes that hang, raise or want more memory than there is: only guilty trials fail, with the reason."""

import re
from collections.abc import Iterator

import pytest

from sweeps.store.paths import SweepPaths
from tests.faults.faulty_worker import GREEDY, HANGING, RAISING
from tests.sweeps.machine import REPOSITORY, SMALL, Machine, machine_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

PROGRAM = (str(REPOSITORY / "tests" / "faults" / "faulty_worker.py"),)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_of(tmp_path_factory.mktemp("root")) as made:
        yield made


def test_lanes_that_hang_and_raise_fail_alone_and_a_pack_too_large_is_split(machine: Machine) -> None:
    faults = {"SWEEPS_HANG_SECONDS": "6"}
    size = ("--name", "faulty", "--trials", "12", "--lanes", "4")
    done = machine.end(machine.sweep(*size, changes=SMALL, program=PROGRAM, **faults))
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    rows = {row["trial"]: row for row in machine.check("faulty", 12)}
    assert {trial for trial, row in rows.items() if row["state"] == "failed"} == {HANGING, RAISING}
    hung = re.fullmatch(r"hung: no step of training ended for (\S+) s, the limit is (\S+) s", rows[HANGING]["reason"])
    assert hung, rows[HANGING]["reason"]
    assert float(hung[1]) >= float(hung[2]) >= 6
    assert rows[RAISING]["reason"] == "ArithmeticError: a lane that raises"
    assert "failed:   1 x hung" in done.err
    log = SweepPaths(machine.root, "faulty").log.read_text()
    assert re.search(r"lost trials (\d+, ){3}\d+: RuntimeError: .*can't allocate memory", log), log
    assert (rows[GREEDY]["state"], rows[GREEDY]["attempt"]) == ("finished", 3)  # of four, of two, alone

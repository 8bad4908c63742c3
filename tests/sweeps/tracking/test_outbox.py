import logging
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from sweeps.tracking.outbox import LAST, Outbox, Row


class RefusalError(Exception):
    pass


class Place:
    """Where rows arrive; `plan` says which connections and calls go wrong."""

    def __init__(
        self,
        *,
        dead_connections: int = 0,
        fails: Callable[[Sequence[Row]], Exception | None] = lambda _rows: None,
        gate: threading.Event | None = None,
    ) -> None:
        self.arrived: list[tuple[str, int]] = []
        self.calls: list[int] = []
        self.connections = 0
        self.dead_connections = dead_connections
        self.fails = fails
        self.gate = gate

    def connect(self) -> Callable[[Sequence[Row]], None]:
        self.connections += 1
        if self.connections <= self.dead_connections:
            raise ConnectionError("nobody at http://place")
        return self.receive

    def receive(self, rows: Sequence[Row]) -> None:
        if self.gate:
            assert self.gate.wait(10)
        error = self.fails(rows)
        if error:
            raise error
        self.calls.append(len(rows))
        self.arrived += [(row.key, row.values["n"]) for row in rows]


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.tracking.outbox._FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("sweeps.tracking.outbox._LAST_DELAY_SECONDS", 0.05)
    monkeypatch.setattr("sweeps.tracking.outbox._DEAD_SECONDS", 0.5)


def outbox(place: Place) -> Outbox:
    return Outbox(place.connect, lambda error: isinstance(error, RefusalError), name="place", interval_seconds=0.01)


def test_every_row_arrives_once_and_in_the_order_of_its_key() -> None:
    place = Place()
    box = outbox(place)
    for n in range(200):
        box.add("row", [(key, {"n": n}) for key in "abc"])
    assert box.close(10) == 0
    assert box.lag == 0
    for key in "abc":
        assert [n for at, n in place.arrived if at == key] == list(range(200))


def test_nothing_to_send_is_not_the_end() -> None:
    place = Place()
    box = outbox(place)
    box.add("row", [])
    box.add_later("row", 0, list)
    time.sleep(0.1)  # for the thread to see it
    box.add("row", [("a", {"n": 1})])
    assert box.close(10) == 0
    assert place.arrived == [("a", 1)]


def test_rows_that_wait_are_sent_together() -> None:
    gate = threading.Event()
    place = Place(gate=gate)
    box = outbox(place)
    box.add("row", [("a", {"n": 0})])
    box.add("row", [("b", {"n": n}) for n in range(1000)])
    gate.set()
    assert box.close(10) == 0
    assert len(place.calls) < 10
    assert sum(place.calls) == 1001


def test_adding_keeps_a_copy() -> None:
    gate = threading.Event()
    place = Place(gate=gate)
    box = outbox(place)
    values = {"n": 1}
    box.add("row", [("a", values)])
    values["n"] = 2
    gate.set()
    assert box.close(10) == 0
    assert place.arrived == [("a", 1)]


def test_a_dead_place_costs_one_warning_and_no_row(caplog: pytest.LogCaptureFixture) -> None:
    place = Place(dead_connections=4)
    with caplog.at_level(logging.WARNING):
        box = outbox(place)
        box.add("row", [("a", {"n": n}) for n in range(5)])
        assert box.close(10) == 0
    assert place.connections == 5
    assert place.arrived == [("a", n) for n in range(5)]
    assert caplog.messages == [
        "place: must take rows, but got: nobody at http://place. "
        "The sweep goes on; rows are kept and sent when it answers."
    ]


def test_close_gives_up_and_counts_what_is_left() -> None:
    place = Place(dead_connections=1_000_000)
    box = outbox(place)
    box.add("row", [("a", {"n": 1}), ("b", {"n": 2})])
    assert box.close(0.2) == 2
    assert box.lag == 2


def test_close_does_not_wait_long_for_a_dead_place() -> None:
    place = Place(dead_connections=1_000_000)
    box = outbox(place)
    box.add("row", [("a", {"n": 1})])
    began = time.monotonic()
    assert box.close(60) == 1
    assert time.monotonic() - began < 30


def test_close_does_not_wait_long_for_a_place_that_failed_and_is_silent_now() -> None:
    gate = threading.Event()
    place = Place(dead_connections=1, gate=gate)
    box = outbox(place)
    box.add("row", [("a", {"n": 1})])
    while place.connections < 2:
        threading.Event().wait(0.01)
    began = time.monotonic()
    assert box.close(60) == 1
    assert time.monotonic() - began < 30
    gate.set()


def test_close_counts_rows_that_are_stuck_in_a_slow_place() -> None:
    gate = threading.Event()
    place = Place(gate=gate)
    box = outbox(place)
    box.add("row", [("a", {"n": 1})])
    assert box.close(0.2) == 1
    gate.set()


def test_a_key_that_always_fails_does_not_hold_up_the_others() -> None:
    place = Place(fails=lambda rows: OSError("500") if rows[0].key == "bad" else None)
    box = outbox(place)
    box.add("row", [("bad", {"n": 0}), ("a", {"n": 1}), ("b", {"n": 2}), (LAST, {"n": 3})])
    assert box.close(1.0) == 2
    assert place.arrived == [("a", 1), ("b", 2)]


def test_the_last_key_waits_for_rows_that_failed() -> None:
    tries = iter(range(100))
    place = Place(fails=lambda rows: OSError("500") if rows[0].key == "slow" and next(tries) < 5 else None)
    box = outbox(place)
    box.add("row", [(LAST, {"n": 0}), ("slow", {"n": 1}), ("a", {"n": 2})])
    assert box.close(10) == 0
    assert place.arrived == [("a", 2), ("slow", 1), (LAST, 0)]


def test_only_the_rows_that_are_refused_by_themselves_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    place = Place(fails=lambda rows: RefusalError("odd") if any(row.values["n"] in (3, 5) for row in rows) else None)
    with caplog.at_level(logging.WARNING):
        box = outbox(place)
        box.add("row", [("a", {"n": n}) for n in range(8)] + [("b", {"n": 0})])
        assert box.close(10) == 2
    assert place.arrived == [("b", 0), *(("a", n) for n in (0, 1, 2, 4, 6, 7))]
    assert box.rejected == {"a": "odd"}
    assert box.rejected_rows == 2
    assert box.lag == 0
    assert caplog.messages == ["place: must take 'a', but refused it: odd. It is left out."]


def test_a_row_is_refused_three_times_before_it_is_left_out() -> None:
    tries = iter(range(100))
    place = Place(fails=lambda _rows: RefusalError("odd") if next(tries) < 2 else None)
    box = outbox(place)
    box.add("row", [("a", {"n": 1})])
    assert box.close(10) == 0
    assert place.connections == 3


def test_a_new_outage_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    down = [OSError("first"), None, OSError("second"), None]
    place = Place(fails=lambda _rows: down.pop(0))
    with caplog.at_level(logging.WARNING):
        box = outbox(place)
        box.add("row", [("a", {"n": 1})])
        while box.lag:
            threading.Event().wait(0.01)
        threading.Event().wait(0.05)
        box.add("row", [("a", {"n": 2})])
        assert box.close(10) == 0
    assert [message.split("got: ")[1].split(".")[0] for message in caplog.messages] == ["first", "second"]


def test_nothing_to_send_connects_nowhere() -> None:
    place = Place()
    assert outbox(place).close(10) == 0
    assert place.connections == 0

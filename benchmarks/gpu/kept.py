"""Measured cases, a file each, so that a benchmark that was cut off goes on where it was."""

import gc
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from rich.console import Console

from benchmarks.record import Row
from supermask import memory
from sweeps.store.paths import replacing


class Case(Protocol):
    """What is measured by itself; hashable."""

    @property
    def name(self) -> str:
        """Of its file."""
        ...


Measured = TypeVar("Measured", bound=Case)
err = Console(stderr=True, highlight=False)


class Kept:
    """The cases of one device.

    Attributes:
        left: Cases that were asked for and are not measured: the time is over, or this process has lost the GPU.
    """

    def __init__(self, folder: Path, device: torch.device, *, minutes: float) -> None:
        """Figures of two cards must not meet in one record, so each card has a folder of its own.

        Args:
            folder: Of all of them.
            device: What is measured.
            minutes: From now, after which no case is begun.
        """
        card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        self._folder = folder / f"{card}, torch {torch.__version__}".replace(" ", "_").replace("/", "-")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._until, self._lost, self.left = time.monotonic() + 60 * minutes, False, 0

    def all(self, cases: Iterable[Measured], measure: Callable[[Measured], Row]) -> dict[Measured, Row]:
        """Those of the cases that are measured."""
        found = {case: self.get(case.name, partial(measure, case)) for case in cases}
        return {case: row for case, row in found.items() if row is not None}

    def get(self, name: str, measure: Callable[[], Row]) -> Row | None:
        """A case from its file, or measured now; None where it is left for the next call.

        A case that breaks is kept as one without rates and with the `reason`: the others are worth measuring.
        """
        file = self._folder / f"{name}.json"
        if not file.exists():
            if self._lost or time.monotonic() > self._until:
                self.left += 1
                return None
            try:
                found = measure()
            except Exception as error:
                found = {"rates": [], "reason": f"{type(error).__name__}: {error}".splitlines()[0]}
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(found), encoding="utf-8")
            rates = found.get("rates")
            said = f"{max(rates):,.0f} a second" if rates else found.get("reason", "measured")
            err.print(f"{name}: {said}", markup=False, soft_wrap=True)
            gc.collect()
            self._lost = memory.is_lost()
            if torch.cuda.is_available() and not self._lost:
                torch.cuda.empty_cache()
        return json.loads(file.read_text(encoding="utf-8"))

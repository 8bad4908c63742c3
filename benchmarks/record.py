"""The JSON document of a benchmark: what was measured, on which machine, by which code."""

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from sweeps.store.paths import replacing

REPOSITORY = Path(__file__).resolve().parents[1]

Row = dict[str, Any]


def compare(
    case: str, ours: Sequence[float], *, peer: Sequence[float], lower_is_better: bool = False, **extra: Any
) -> Row:
    """One row: medians of both sides, and median and range of the ratio of each pair of repetitions.

    Args:
        case: What was measured; unique in its document.
        ours: One value per repetition.
        peer: The peer's value of the same repetitions.
        lower_is_better: Whether the values are times. A ratio above 1 means that ours is better either way.
        extra: Further keys of the row.
    """
    pairs = zip(ours, peer, strict=True)
    ratios = [theirs / own if lower_is_better else own / theirs for own, theirs in pairs]
    return {
        "case": case,
        "ours": statistics.median(ours),
        "peer": statistics.median(peer),
        "ratio": statistics.median(ratios),
        "n": len(ratios),
        "low": min(ratios),
        "high": max(ratios),
        **extra,
    }


def alone(case: str, ours: Sequence[float], **extra: Any) -> Row:
    """One row of what has no peer: the median, and in place of the ratio's range that of the values.

    Args:
        case: What was measured; unique in its document.
        ours: One value per repetition.
        extra: Further keys of the row.
    """
    row = {"case": case, "ours": statistics.median(ours), "peer": None, "ratio": None, "n": len(ours)}
    return row | {"low": min(ours), "high": max(ours)} | extra


def against_peer(row: Row) -> tuple[float | None, float | None, float | None, float | None]:
    """Peer, ratio and the ratio's range of a row; nothing where no peer was measured."""
    if row["ratio"] is None:
        return None, None, None, None
    return row["peer"], row["ratio"], row["low"], row["high"]


def table(rows: Sequence[Row], **more: Callable[[Row], str]) -> Table:
    """The rows for a terminal.

    Args:
        rows: From `compare` and `alone`; one without a peer has a dash in its place.
        more: Further columns by their heads.
    """
    found = Table("case", "ours", "peer", "ratio", "range", "n", *(head.replace("_", " ") for head in more))
    for row in rows:
        peer, ratio, low, high = ("-" if value is None else f"{value:.4g}" for value in against_peer(row))
        span = "-" if ratio == "-" else f"{low} to {high}"
        further = (column(row) for column in more.values())
        found.add_row(row["case"], f"{row['ours']:.4g}", peer, ratio, span, str(row["n"]), *further)
    return found


def write(path: Path, rows: Sequence[Row], *, measured: Mapping[str, Any] | None = None) -> None:
    """Writes the document of one run; a reader never sees half of it.

    Args:
        path: The file. Its folder is created.
        rows: From `compare` and `alone`.
        measured: What this run found out about the machine, e.g. its peak; kept under `hardware`.
    """
    document = {
        "commit": commit(),
        "hardware": hardware() | dict(measured or {}),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "rows": list(rows),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def commit() -> str | None:
    """The commit of this code, with `-dirty` if files differ from it; None outside of a Git checkout."""
    revision = _git("rev-parse", "HEAD")
    # Results of earlier runs change no figure.
    changed = revision and _git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return f"{revision}-dirty" if changed else revision


def hardware() -> dict[str, Any]:
    """What the figures were measured on. The name of the machine is nobody's business."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

"""Rows of the record, from the cases that are measured."""

import statistics
from collections.abc import Mapping, Sequence

import torch
from rich.table import Table

from benchmarks import record
from benchmarks.gpu.cases import DOCUMENTED, PACK, TUNED, Case
from benchmarks.limits import Limits
from benchmarks.record import Row
from benchmarks.workload import Workload
from supermask.cost import lane_cost
from supermask.data import Dataset

Measured = Mapping[Case, Row]


def rows(
    measured: Measured, images: Mapping[str, Dataset], limits: Limits, *, width: float, dtype: torch.dtype
) -> list[Row]:
    """Each pack against one process of either peer, and the best pack against the best number of processes."""
    known = {case: found for case, found in measured.items() if found["rates"]}
    networks = dict.fromkeys(case.network for case in known)
    found = list[Row]()
    for network in networks:
        cost = lane_cost(Workload(network, width, images[network]).shapes, batch_size=128, dtype=dtype)
        own = _of(known, network, PACK)
        for kind in (TUNED, DOCUMENTED):
            peers = _of(known, network, kind)
            pairs = [(pack, peers[0]) for pack in own if peers and peers[0].count == 1]
            if own and peers:
                pairs.append((_best(known, own), _best(known, peers)))
            for place, (pack, peer) in enumerate(pairs):
                rate = statistics.median(known[pack]["rates"])
                best = "best: " if place == len(pairs) - 1 else ""
                found.append(
                    record.compare(
                        f"{best}{network}, K={pack.count}, against {kind}, {peer.count} processes",
                        known[pack]["rates"],
                        peer=known[peer]["rates"],
                        unit="lane-steps per second",
                        teraflops=rate * cost.flops / 1e12,
                        share_of_peak=rate * cost.flops / limits.flops_per_second,
                        over_limit=1 / (rate * limits.seconds(cost)),
                        compile_seconds=known[pack]["compile_seconds"],
                        memory_gib=known[pack]["memory_gib"],
                    )
                )
    return found


def short(found: Sequence[Row]) -> Table:
    """What is printed last."""
    table = Table("case", "lane-steps/s", "ratio", "range", "TFLOP/s", "of peak", "over limit")
    for row in found:
        table.add_row(
            row["case"],
            f"{row['ours']:,.0f}",
            f"{row['ratio']:.3g}",
            f"{row['low']:.3g} to {row['high']:.3g}",
            f"{row['teraflops']:.3g}",
            f"{row['share_of_peak']:.1%}",
            f"{row['over_limit']:.2f}",
        )
    return table


def _of(known: Measured, network: str, kind: str) -> list[Case]:
    return sorted((case for case in known if (case.network, case.kind) == (network, kind)), key=lambda case: case.count)


def _best(known: Measured, cases: Sequence[Case]) -> Case:
    return max(cases, key=lambda case: statistics.median(known[case]["rates"]))

"""What this machine can do at best: the speed of a large matrix product and of a large copy."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from supermask.cost import LaneCost


@dataclass(frozen=True)
class Limits:
    """Measured on one device.

    Attributes:
        flops_per_second: Of a large matrix product in the dtype that lanes are trained in.
        bytes_per_second: Read and written by a large copy.
    """

    flops_per_second: float
    bytes_per_second: float

    def seconds(self, cost: LaneCost) -> float:
        """Least time of a lane-step: its products at the peak, or its traffic to memory, whichever is longer.

        A pack that fits into the caches can be faster than the traffic to memory allows.
        """
        return max(cost.flops / self.flops_per_second, cost.traffic_bytes / self.bytes_per_second)


def measure(device: torch.device, dtype: torch.dtype, *, seconds: float) -> Limits:
    """Takes the best of all repetitions that fit into the time.

    Args:
        device: Where.
        dtype: Of the matrices.
        seconds: Time for each of the two measurements.
    """
    large = device.type == "cuda"
    sizes = (4096, 8192) if large else (1024, 2048)
    source = torch.ones((2**30 if large else 2**28) // 4, device=device)
    target = torch.empty_like(source)
    products = [_product_rate(size, device, dtype, seconds=seconds / len(sizes)) for size in sizes]
    copying = _shortest(lambda: target.copy_(source), device, seconds=seconds)
    return Limits(max(products), 2 * source.nbytes / copying)


def _product_rate(size: int, device: torch.device, dtype: torch.dtype, *, seconds: float) -> float:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _shortest(lambda: left @ right, device, seconds=seconds)


def _shortest(action: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        started = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best

"""Which form of K lanes' convolutions is fastest: each is timed forward and backward on the layers of our networks."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import record
from benchmarks.limits import Limits
from benchmarks.record import Row

BATCH, KERNEL = 128, 3


@dataclass(frozen=True)
class Layer:
    """Of a network: channels in, channels out, and height and width of its images."""

    inputs: int
    outputs: int
    side: int

    @property
    def flops(self) -> int:
        """Of a step of one lane: forward, and the gradients of weights and inputs."""
        return 3 * 2 * BATCH * self.side**2 * self.outputs * self.inputs * KERNEL**2


LAYERS = {"conv4's second": Layer(64, 64, 32), "conv4's fourth": Layer(128, 128, 16), "resnet20's": Layer(16, 16, 32)}
TOY = {"toy": Layer(2, 2, 4)}
Convolve = Callable[[Tensor, Tensor], Tensor]
"""From values `[batch, lane * channel, height, width]` and weights `[lane, out, in, 3, 3]` to the next values."""


def _grouped(values: Tensor, weights: Tensor) -> Tensor:
    return functional.conv2d(values, weights.flatten(0, 1), padding=1, groups=len(weights))


def _grouped_channels_last(values: Tensor, weights: Tensor) -> Tensor:
    layout = torch.channels_last
    kernels = weights.flatten(0, 1).contiguous(memory_format=layout)
    return functional.conv2d(values.contiguous(memory_format=layout), kernels, padding=1, groups=len(weights))


def _one_by_one(values: Tensor, weights: Tensor) -> Tensor:
    layout = torch.channels_last
    own = zip(values.chunk(len(weights), dim=1), weights, strict=True)
    return torch.cat(
        [functional.conv2d(part.contiguous(memory_format=layout), kernels, padding=1) for part, kernels in own], dim=1
    )


def _batched(values: Tensor, weights: Tensor) -> Tensor:
    lanes, batch, side = len(weights), len(values), values.shape[2]
    own = values.unflatten(1, (lanes, -1)).transpose(0, 1).flatten(0, 1)
    patches = functional.unfold(own, KERNEL, padding=1).unflatten(0, (lanes, batch))
    out = torch.bmm(weights.flatten(2), patches.transpose(1, 2).flatten(2))
    return out.view(lanes, -1, batch, side, side).permute(2, 0, 1, 3, 4).flatten(1, 2)


PRESENT = "grouped, channels last"
"""What `supermask.layers` does on a GPU."""
FORMS: Mapping[str, Convolve] = {
    PRESENT: _grouped_channels_last,
    "grouped": _grouped,
    "one after the other": _one_by_one,
    "batched products": _batched,
}


@dataclass(frozen=True)
class Case:
    """One form of one layer with so many lanes."""

    layer: str
    lanes: int
    form: str

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.layer}-{self.form}-{self.lanes}".replace(" ", "_").replace("'", "")


def all_cases(layers: Mapping[str, Layer], *, lanes: tuple[int, ...]) -> Iterator[Case]:
    """Every case; those that are compared stand side by side."""
    for layer, count, form in product(layers, lanes, FORMS):
        yield Case(layer, count, form)


def measure(
    case: Case,
    *,
    layers: Mapping[str, Layer],
    device: torch.device,
    dtype: torch.dtype,
    repeats: int,
    seconds: float,
) -> Row:
    """Convolutions of a lane per second, forward and backward, of each repetition."""
    layer = layers[case.layer]
    values = torch.randn(BATCH, case.lanes * layer.inputs, layer.side, layer.side, device=device, dtype=dtype)
    weights = torch.randn(case.lanes, layer.outputs, layer.inputs, KERNEL, KERNEL, device=device, dtype=dtype)
    values.requires_grad_()
    weights.requires_grad_()

    def once() -> None:
        torch.autograd.grad(FORMS[case.form](values, weights).sum(), (values, weights))

    once()
    calls = max(1, round(seconds / _seconds(once, 1, device)))
    return {"rates": [case.lanes * calls / _seconds(once, calls, device) for _ in range(repeats)]}


def rows(measured: Mapping[Case, Row], layers: Mapping[str, Layer], limits: Limits) -> list[Row]:
    """Each form against the present one."""
    found = list[Row]()
    for case, own in measured.items():
        peer = measured.get(Case(case.layer, case.lanes, PRESENT), {"rates": []})
        if case.form != PRESENT and own["rates"] and peer["rates"]:
            flops = statistics.median(own["rates"]) * layers[case.layer].flops
            found.append(
                record.compare(
                    f"{case.layer} convolution, K={case.lanes}: {case.form}, against {PRESENT}",
                    own["rates"],
                    peer=peer["rates"],
                    unit="convolutions of a lane per second",
                    teraflops=flops / 1e12,
                    share_of_peak=flops / limits.flops_per_second,
                    over_limit=limits.flops_per_second / flops,
                )
            )
    return found


def _seconds(action: Callable[[], None], calls: int, device: torch.device) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started

"""Thresholds that decide which weights of a layer are hidden (arXiv 2201.13361, section 3), and counts of a mask."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8, Int32, Int64, Shaped
from torch import Tensor


def thresholds_of_maximum(
    scores: Float[Tensor, "lane ..."], pruning_rates: Float[Tensor, " lane"]
) -> Float[Tensor, " lane"]:
    """Mask rule `threshold`: tau = p * max(abs(S)), set once, right after initialisation.

    Args:
        scores: Freshly drawn scores of one layer.
        pruning_rates: p of each lane, [0, 1). With uniform scores p is the initially hidden fraction.
    """
    return scores.flatten(1).abs().amax(dim=1) * pruning_rates


def thresholds_of_fraction(ranks: Float[Tensor, "lane ..."], pruning_rates: Sequence[float]) -> Float[Tensor, " lane"]:
    """Tau as the quantile that hides round(p * n) of the n weights of a layer.

    Args:
        ranks: What the weights are ranked by: scores, or their magnitudes.
        pruning_rates: p of each lane, [0, 1). A lane that hides nothing gets the threshold minus infinity.
    """
    flat = ranks.flatten(1)
    hidden = [round(rate * flat.shape[1]) for rate in pruning_rates]
    if flat.device.type != "cpu" and flat.dtype == torch.float32:
        counts = torch.tensor(hidden, device=flat.device)
        return torch.where(counts > 0, smallest(flat, counts.clamp_min(1)), -torch.inf)
    nothing = flat.new_full((), -torch.inf)
    return torch.stack(
        [row.kthvalue(count).values if count else nothing for row, count in zip(flat, hidden, strict=True)]
    )


def smallest(rows: Float[Tensor, "lane value"], ranks: Int64[Tensor, " lane"]) -> Float[Tensor, " lane"]:
    """The value of a given rank in every row, counted from 1, the smallest: `kthvalue` with a rank for each row.

    For a GPU, which would take rows one after the other: here all halve the float32 numbers at once, until one is left.
    """
    keys = _in_order(rows.view(torch.int32))
    low = torch.full_like(ranks, -(2**31))
    high = torch.full_like(ranks, 2**31 - 1)
    for _ in range(32):
        middle = (low + high) >> 1
        enough = (keys <= middle.int()[:, None]).sum(dim=1) >= ranks
        low, high = torch.where(enough, low, middle + 1), torch.where(enough, middle, high)
    return _in_order(high.int()).view(torch.float32)


def _in_order(bits: Int32[Tensor, "..."]) -> Int32[Tensor, "..."]:
    """From the bits of a float32 number to a whole number that is in the same order, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def per_lane(values: Shaped[Tensor, " lane"], like: Float[Tensor, "lane ..."]) -> Tensor:
    """Shapes one number per lane so that it broadcasts over a tensor with a leading lane dimension."""
    return values.view(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class MaskCounts:
    """How many weights of one layer and lane are kept, hidden and inverted."""

    kept: int
    hidden: int
    inverted: int

    @classmethod
    def of(cls, mask: Int8[Tensor, "..."]) -> "MaskCounts":
        """Counts the entries +1, 0 and -1."""
        return cls(int((mask > 0).sum()), int((mask == 0).sum()), int((mask < 0).sum()))

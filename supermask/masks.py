"""Thresholds that decide which weights of a layer are hidden (arXiv 2201.13361, section 3), and counts of a mask."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8, Shaped
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


def thresholds_of_fraction(
    ranks: Float[Tensor, "lane ..."], pruning_rates: Float[Tensor, " lane"]
) -> Float[Tensor, " lane"]:
    """Tau as the quantile that hides round(p * n) of the n weights of a layer.

    Args:
        ranks: What the weights are ranked by: scores, or their magnitudes.
        pruning_rates: p of each lane, [0, 1). A lane that hides nothing gets the threshold minus infinity.
    """
    flat = ranks.flatten(1)
    thresholds = torch.full_like(pruning_rates, -torch.inf)
    for lane, rate in enumerate(pruning_rates.tolist()):
        hidden = round(rate * flat.shape[1])
        if hidden:
            thresholds[lane] = flat[lane].kthvalue(hidden).values
    return thresholds


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

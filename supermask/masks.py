"""From scores to masks, and from the loss back to the scores (arXiv 2201.13361, section 3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8
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
    scores: Float[Tensor, "lane ..."], pruning_rates: Float[Tensor, " lane"]
) -> Float[Tensor, " lane"]:
    """Mask rule `target`: tau is the quantile of abs(S) that hides round(p * n) of the n weights of a layer.

    A lane that hides nothing gets a negative threshold, below every magnitude.
    """
    magnitudes = scores.flatten(1).abs()
    size = magnitudes.shape[1]
    thresholds = torch.full_like(pruning_rates, -1.0)
    for lane, rate in enumerate(pruning_rates.tolist()):
        hidden = round(rate * size)
        if hidden:
            thresholds[lane] = magnitudes[lane].kthvalue(hidden).values
    return thresholds


def masks_of(scores: Float[Tensor, "lane ..."], thresholds: Float[Tensor, " lane"]) -> Int8[Tensor, "lane ..."]:
    """M = sign(S) where abs(S) > tau, else 0."""
    bound = per_lane(thresholds, scores)
    return torch.where(scores.abs() > bound, torch.sign(scores), 0.0).to(torch.int8)


def masked_weights(
    scores: Float[Tensor, "lane ..."],
    thresholds: Float[Tensor, " lane"],
    weights: Tensor,
    dtype: torch.dtype,
) -> Float[Tensor, "lane ..."]:
    """W * M, the weights that the layer computes with, in the dtype of the computation.

    Args:
        scores: Trained scores of one layer.
        thresholds: tau of each lane.
        weights: Frozen weights in units of their scale, the same shape as `scores`.
        dtype: Of the result. Signed-constant weights are -1, 0 and +1 in it, without rounding.
    """
    bound = per_lane(thresholds, scores)
    kept = torch.where(scores.abs() > bound, torch.sign(scores), 0.0)
    return (kept * weights).to(dtype)


def score_gradients(masked_weight_gradients: Tensor, weights: Tensor, like: Tensor) -> Tensor:
    """Straight-through estimator: dL/dS = dL/d(W * M) * W, in the dtype of `like` (the scores)."""
    return masked_weight_gradients.to(like.dtype) * weights


def per_lane(values: Float[Tensor, " lane"], like: Float[Tensor, "lane ..."]) -> Tensor:
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

"""What each method trains, and the weights that it makes the network compute with.

| method        | computes with                          | backward to the scores S               | source           |
|---------------|----------------------------------------|----------------------------------------|------------------|
| `signed`      | W * sign(S) where abs(S) > tau         | dL/dw * W                              | arXiv 2201.13361 |
| `zhou`        | W * Bernoulli(sigmoid(S)); at the end W * sigmoid(S) | dL/dw * W * sigmoid'(S)  | arXiv 1905.01067 |
| `edge_popup`  | W / sqrt(1 - p) where S > tau          | dL/dw * W                              | arXiv 1911.13299 |
| `multi_prize` | a * sign(W) where abs(S) > tau         | dL/dw * a * sign(W) * sign(S)          | arXiv 2103.09377 |
| `dense`       | S, which starts as W                   | dL/dw                                  |                  |

w is the effective weight, W the frozen one, tau the layer's threshold: set once (`signed`, mask rule `threshold`) or
moved so that the fraction p stays hidden (mask rule `target`, `edge_popup`, `multi_prize`), every 16 steps. a is the
mean of abs(W) over the weights that are not hidden. All run over lanes as `signed` does, with the same optimiser.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from supermask.config import TrainConfig
from supermask.masks import per_lane, thresholds_of_fraction, thresholds_of_maximum

SURE = 1e-3
"""Least probability of hiding and of keeping a weight at the start of `zhou`: a sigmoid reaches neither 0 nor 1."""


def holds_rate(config: TrainConfig) -> bool:
    """Whether the thresholds follow the scores so that `pruning_rate` stays hidden."""
    return config.method in ("edge_popup", "multi_prize") or config.mask_rule == "target"


def thresholds(config: TrainConfig, scores: Float[Tensor, "lane ..."], rates: Sequence[float]) -> Tensor:
    """Tau of each lane; without meaning, and zero, for `dense` and `zhou`.

    Args:
        config: Gives method and mask rule.
        scores: Of one layer.
        rates: `pruning_rate` of each lane.
    """
    if config.method in ("dense", "zhou"):
        return scores.new_zeros(len(rates))
    if not holds_rate(config):
        return thresholds_of_maximum(scores, torch.tensor(rates, dtype=scores.dtype, device=scores.device))
    return thresholds_of_fraction(scores if config.method == "edge_popup" else scores.abs(), rates)


def shown(method: str, scores: Float[Tensor, "lane ..."], threshold: Float[Tensor, " lane"]) -> Tensor:
    """Where a weight is not hidden; for `zhou` where it is more likely shown than hidden."""
    match method:
        case "dense":
            return torch.ones_like(scores, dtype=torch.bool)
        case "zhou" | "edge_popup":
            return scores > per_lane(threshold, scores)
        case _:
            return scores.abs() > per_lane(threshold, scores)


def masks_of(
    method: str, scores: Float[Tensor, "lane ..."], threshold: Float[Tensor, " lane"]
) -> Int8[Tensor, "lane ..."]:
    """The mask: +1 keeps, 0 hides, -1 inverts (`signed` only)."""
    kept = shown(method, scores, threshold)
    if method == "signed":
        return torch.where(kept, torch.sign(scores), 0.0).to(torch.int8)
    return kept.to(torch.int8)


def effective_weights(
    method: str,
    scores: Float[Tensor, "lane ..."],
    threshold: Float[Tensor, " lane"],
    weights: Tensor,
    keys: Int64[Tensor, " lane"] | None,
) -> Float[Tensor, "lane ..."]:
    """What a layer computes with, in units of its scale.

    Args:
        method: Of all lanes.
        scores: Trained scores of one layer.
        threshold: tau of each lane.
        weights: Frozen weights in units of their scale.
        keys: One whole number per lane, layer and step that decides the draws of `zhou`; None outside of training,
            where `zhou` takes the expectation.
    """
    match method:
        case "dense":
            return scores
        case "zhou":
            chance = torch.sigmoid(scores)
            return chance * weights if keys is None else torch.where(_uniform(keys, scores) < chance, weights, 0.0)
    kept = shown(method, scores, threshold)
    match method:
        case "edge_popup":
            return torch.where(kept, weights, 0.0)
        case "multi_prize":
            return torch.where(kept, torch.sign(weights), 0.0)
        case _:
            return torch.where(kept, torch.sign(scores), 0.0) * weights


def widened_scale(scale: Float[Tensor, " lane"], rates: Float[Tensor, " lane"]) -> Float[Tensor, " lane"]:
    """The scale of `edge_popup`, which makes up for the hidden fraction: scale / sqrt(1 - p)."""
    return scale / (1 - rates).sqrt()


def binarised_scale(scale: Float[Tensor, " lane"], weights: Tensor, kept: Tensor) -> Float[Tensor, " lane"]:
    """The scale a of `multi_prize`: that of the weights times the mean of abs(W) over those that are not hidden.

    Args:
        scale: Of the frozen weights.
        weights: Frozen weights in units of it.
        kept: Where they are not hidden.
    """
    magnitudes = torch.where(kept, weights.abs(), 0).flatten(1).sum(dim=1, dtype=scale.dtype)
    return scale * magnitudes / kept.flatten(1).sum(dim=1).clamp_min(1)


def score_gradients(
    method: str, gradients: Float[Tensor, "lane ..."], scores: Float[Tensor, "lane ..."], weights: Tensor
) -> Float[Tensor, "lane ..."]:
    """Straight-through estimator: from the gradient of the effective weights to that of the scores.

    Args:
        method: Of all lanes.
        gradients: Of `effective_weights`, which are in units of the layer's scale, so they hold that factor.
        scores: Gives the dtype of the result.
        weights: Frozen weights in units of their scale.
    """
    wide = gradients.to(scores.dtype)
    match method:
        case "dense":
            return wide
        case "zhou":
            chance = torch.sigmoid(scores)
            return wide * weights * chance * (1 - chance)
        case "multi_prize":
            return wide * torch.sign(weights) * torch.sign(scores)
        case _:
            return wide * weights


def initial_offset(config: TrainConfig) -> float:
    """What is added to the initial scores: `zhou` starts where the chance of hiding is `pruning_rate`."""
    if config.method != "zhou":
        return 0.0
    hidden = min(max(config.pruning_rate, SURE), 1 - SURE)
    return math.log((1 - hidden) / hidden)


def step_keys(
    configs: Sequence[TrainConfig], *, epoch: int, steps: int, device: torch.device
) -> list[Int64[Tensor, " lane"]]:
    """The keys of the draws of `zhou` at each step: a lane's depend on its seed, the epoch and the step alone."""
    if configs[0].method != "zhou":
        return [torch.zeros(len(configs), dtype=torch.int64, device=device)] * steps
    # 0 and 1 begin the seeds of weights and scores.
    seeds = (np.random.SeedSequence([config.seed, 2, epoch]) for config in configs)
    drawn = [np.random.Generator(np.random.PCG64(seed)).integers(2**32, size=steps) for seed in seeds]
    return list(torch.from_numpy(np.stack(drawn, axis=1)).to(device).unbind())


def layer_keys(keys: Int64[Tensor, " lane"], index: int) -> Int64[Tensor, " lane"]:
    """The keys of one layer from those of a step."""
    return _mixed(keys + index)


def _uniform(keys: Int64[Tensor, " lane"], like: Float[Tensor, "lane ..."]) -> Float[Tensor, "lane ..."]:
    """Numbers in [0, 1) out of the key and the position alone, the same on every device and in every company."""
    position = torch.arange(like[0].numel(), device=like.device).view(like.shape[1:])
    bits = _mixed(_mixed(position) ^ per_lane(keys, like))
    return (bits & 0xFFFFFF).to(like.dtype) * 2.0**-24


def _mixed(values: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """A hash of the low 32 bits of each number; both factors are below 2**31, so no product overflows."""
    values = values & 0xFFFFFFFF
    values = ((values ^ (values >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    values = ((values ^ (values >> 15)) * 0x31848BAB) & 0xFFFFFFFF
    return values ^ (values >> 16)

"""What the lanes of a pack hold: frozen weights, scores, momentum, thresholds and the masked weights."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from supermask import masks
from supermask.config import ConfigError, TrainConfig
from supermask.initialisers import TERNARY_INITS, initial_scores, unit_weights, weight_scale
from supermask.models import MaskedLayer

TRAINED = ("scores", "velocity", "threshold")
"""What training changes: all a checkpoint holds. The rest is drawn again from the seed or computed."""


@dataclass
class LayerState:
    """One masked layer of all lanes.

    Attributes:
        weights: Frozen, in units of `scale`, `[lane, *shape]`; int8 where all lanes are ternary.
        scale: c of each lane, `[lane]`.
        scores: `[lane, *shape]`, in the accumulation dtype.
        velocity: Momentum of the scores.
        threshold: tau, `[lane]`.
        masked: weights * mask in the dtype of the products; the leaf that gradients are taken for.
    """

    weights: Tensor
    scale: Float[Tensor, " lane"]
    scores: Float[Tensor, "lane ..."]
    velocity: Float[Tensor, "lane ..."]
    threshold: Float[Tensor, " lane"]
    masked: Float[Tensor, "lane ..."]

    @classmethod
    def draw(
        cls,
        configs: Sequence[TrainConfig],
        layer: MaskedLayer,
        index: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        wide: torch.dtype,
    ) -> "LayerState":
        """Draws one layer of every lane from the lane's own seed.

        Args:
            configs: One per lane.
            layer: Gives shape and fans.
            index: Position of the layer in its network.
            device: Where the tensors live.
            dtype: Of the products.
            wide: Of scores, momentum and scales.
        """
        # One byte a weight where every lane is ternary; the products are the same in either dtype.
        stored = torch.int8 if all(config.weight_init in TERNARY_INITS for config in configs) else wide
        weights = torch.stack([unit_weights(config, layer, index).to(stored) for config in configs]).to(device)
        scores = torch.stack([initial_scores(config, layer, index).to(wide) for config in configs]).to(device)
        scale = torch.tensor([weight_scale(config, layer) for config in configs], dtype=wide, device=device)
        rates = torch.tensor([config.pruning_rate for config in configs], dtype=wide, device=device)
        fixed = configs[0].mask_rule == "threshold"
        threshold = (masks.thresholds_of_maximum if fixed else masks.thresholds_of_fraction)(scores, rates)
        masked = masks.masked_weights(scores, threshold, weights, dtype)
        return cls(weights, scale, scores, torch.zeros_like(scores), threshold, masked.requires_grad_())

    def select(self, lanes: Int64[Tensor, " kept"]) -> None:
        """Keeps only the lanes at the given positions."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name).detach()[lanes])
        self.masked.requires_grad_()

    def apply_mask(self) -> None:
        """Computes `masked` from scores and threshold."""
        with torch.no_grad():
            self.masked.copy_(masks.masked_weights(self.scores, self.threshold, self.weights, self.masked.dtype))

    def retarget(self, pruning_rates: Float[Tensor, " lane"]) -> None:
        """Mask rule `target`: moves the thresholds so that the prescribed fraction is hidden again."""
        self.threshold.copy_(masks.thresholds_of_fraction(self.scores, pruning_rates))
        self.apply_mask()

    def mask(self, position: int) -> Int8[Tensor, "..."]:
        """The mask of the lane at a position."""
        chosen = slice(position, position + 1)
        return masks.masks_of(self.scores[chosen], self.threshold[chosen])[0]

    def counts(self) -> tuple[Int64[Tensor, " lane"], Int64[Tensor, " lane"]]:
        """Numbers of weights that remain and that are inverted, per lane."""
        shown = self.scores.abs() > masks.per_lane(self.threshold, self.scores)
        return shown.flatten(1).sum(dim=1), (shown & (self.scores < 0)).flatten(1).sum(dim=1)

    def sound(self) -> Bool[Tensor, " lane"]:
        """Whether all scores of each lane are finite."""
        return self.scores.isfinite().flatten(1).all(dim=1)

    def trained(self, name: str) -> dict[str, Tensor]:
        """Copies of what training changes, keyed `NAME.PART`."""
        return {f"{name}.{part}": getattr(self, part).clone() for part in TRAINED}

    def restore(self, name: str, state: dict[str, Any]) -> None:
        """Takes over what `trained` gave.

        Raises:
            ConfigError: If a part is missing or has another shape.
        """
        for part in TRAINED:
            own, found = getattr(self, part), state.get(f"{name}.{part}")
            if not isinstance(found, Tensor) or found.shape != own.shape:
                got = tuple(found.shape) if isinstance(found, Tensor) else found
                raise ConfigError(
                    f"pack state: {name}.{part} must have shape {tuple(own.shape)}, but got {got}. "
                    "Load it into a pack built from the same configurations."
                )
            own.copy_(found)
        self.apply_mask()

"""What the lanes of a pack hold: frozen weights, scores, momentum, thresholds and the masked weights."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from supermask import methods, optim
from supermask.config import ConfigError, TrainConfig
from supermask.initialisers import TERNARY_INITS, initial_scores, unit_weights, weight_scale
from supermask.network import MaskedLayer
from supermask.optim import Rates

TRAINED = ("scores", "velocity", "threshold")
"""What training changes: all a checkpoint holds. The rest is drawn again from the seed or computed."""


@dataclass
class LayerState:
    """One masked layer of all lanes.

    Attributes:
        method: What is trained, see `supermask.methods`.
        weights: Frozen, in units of `scale`, `[lane, *shape]`; int8 where all lanes are ternary. One 1 for `dense`.
        initial_scale: Scale of the frozen weights before any mask, `[lane]`.
        scale: What the layer's output is multiplied with, `[lane]`.
        scores: `[lane, *shape]`, in the accumulation dtype.
        velocity: Momentum of the scores.
        threshold: tau, `[lane]`.
        masked: Effective weights in units of `scale`, in the dtype of the products.
    """

    method: str
    weights: Tensor
    initial_scale: Float[Tensor, " lane"]
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
        shared = configs[0]
        # One byte a weight where every lane is ternary; the products are the same in either dtype.
        stored = torch.int8 if all(config.weight_init in TERNARY_INITS for config in configs) else wide
        weights = torch.stack([unit_weights(config, layer, index).to(stored) for config in configs]).to(device)
        scale = torch.tensor([weight_scale(config, layer) for config in configs], dtype=wide, device=device)
        if shared.method == "dense":
            scores = weights.to(wide) * scale.view(-1, *[1] * len(layer.shape))
            scale = torch.ones_like(scale)
            weights = torch.ones(len(configs), *[1] * len(layer.shape), dtype=torch.int8, device=device)
        else:
            drawn = [
                initial_scores(config, layer, index).to(wide) + methods.initial_offset(config) for config in configs
            ]
            scores = torch.stack(drawn).to(device)
        rates = [config.pruning_rate for config in configs]
        if shared.method == "edge_popup":
            scale = methods.widened_scale(scale, torch.tensor(rates, dtype=wide, device=device))
        masked = torch.empty_like(scores, dtype=dtype)
        threshold = methods.thresholds(shared, scores, rates)
        velocity = torch.zeros_like(scores)
        state = cls(shared.method, weights, scale, scale.clone(), scores, velocity, threshold, masked)
        state.apply_mask()
        return state

    def select(self, lanes: Int64[Tensor, " kept"]) -> None:
        """Keeps only the lanes at the given positions."""
        for name in _TENSORS:
            setattr(self, name, getattr(self, name)[lanes])

    def apply_mask(self, keys: Int64[Tensor, " lane"] | None = None) -> None:
        """Computes `masked`, and the scale where the mask decides it.

        Args:
            keys: Of the layer's draws, see `supermask.methods`; without them the final weights are taken.
        """
        if self.method == "multi_prize":
            kept = methods.shown(self.method, self.scores, self.threshold)
            self.scale.copy_(methods.binarised_scale(self.initial_scale, self.weights, kept))
        self.masked.copy_(self._effective(keys))

    def update(self, gradient: Float[Tensor, "lane ..."], rates: Rates, index: int) -> None:
        """Gradient of the scores, optimiser step and new masked weights: one pass over memory when fused.

        Args:
            gradient: Of `masked`.
            rates: Of the step.
            index: Position of the layer in its network.
        """
        own = methods.score_gradients(self.method, gradient, self.scores, self.weights)
        optim.nesterov_update(
            self.scores,
            self.velocity,
            own,
            learning_rate=rates.learning_rate,
            weight_decay=rates.weight_decay,
            momentum=rates.momentum,
        )
        keys = methods.layer_keys(rates.keys, index) if self.method == "zhou" else None
        self.masked.copy_(self._effective(keys))

    def retarget(self, config: TrainConfig, pruning_rates: Sequence[float]) -> None:
        """Moves the thresholds so that the prescribed fraction is hidden again."""
        self.threshold.copy_(methods.thresholds(config, self.scores, pruning_rates))
        self.apply_mask()

    def final(self) -> Float[Tensor, "lane ..."]:
        """The effective weights outside of training, in the dtype of the products."""
        if self.method != "zhou":
            return self.masked
        return self._effective(None).to(self.masked.dtype)

    def _effective(self, keys: Int64[Tensor, " lane"] | None) -> Float[Tensor, "lane ..."]:
        return methods.effective_weights(self.method, self.scores, self.threshold, self.weights, keys)

    def mask(self, position: int) -> Int8[Tensor, "..."]:
        """The mask of the lane at a position."""
        chosen = slice(position, position + 1)
        return methods.masks_of(self.method, self.scores[chosen], self.threshold[chosen])[0]

    def values(self, position: int) -> dict[str, Float[Tensor, "..."]]:
        """What the lane at a position is besides seed and mask, by part: nothing for most methods."""
        match self.method:
            case "dense":
                return {"weights": self.scores[position]}
            case "zhou":
                return {"chances": torch.sigmoid(self.scores[position])}
            case _:
                return {}

    def counts(self) -> tuple[Tensor, Tensor]:
        """Numbers of weights that remain and that are inverted, per lane; of `zhou` the expected ones."""
        if self.method == "zhou":
            remaining = torch.sigmoid(self.scores).flatten(1).sum(dim=1, dtype=torch.float64)
            return remaining, torch.zeros_like(remaining)
        shown = methods.shown(self.method, self.scores, self.threshold)
        inverted = shown & (self.scores < 0) if self.method == "signed" else torch.zeros_like(shown)
        return shown.flatten(1).sum(dim=1), inverted.flatten(1).sum(dim=1)

    def sound(self) -> Bool[Tensor, " lane"]:
        """Whether all scores of each lane are finite."""
        return self.scores.isfinite().flatten(1).all(dim=1)

    def trained(self, name: str, positions: Sequence[int]) -> dict[str, Tensor]:
        """Copies of what training changes, of the lanes at the given positions, keyed `NAME.PART`."""
        return {f"{name}.{part}": getattr(self, part)[list(positions)] for part in TRAINED}

    def restore(self, name: str, state: dict[str, Any]) -> None:
        """Takes over what `trained` gave.

        Raises:
            ConfigError: If a part is missing or has another shape.
        """
        take_over(self, name, TRAINED, state)
        self.apply_mask()


_TENSORS = tuple(field.name for field in fields(LayerState) if field.name != "method")


def take_over(owner: Any, name: str, parts: Sequence[str], state: dict[str, Any]) -> None:
    """Copies the tensors `NAME.PART` of a saved state into the attributes `PART` of `owner`.

    Raises:
        ConfigError: If a part is missing or has another shape.
    """
    for part in parts:
        own, found = getattr(owner, part), state.get(f"{name}.{part}")
        if not isinstance(found, Tensor) or found.shape != own.shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else found
            raise ConfigError(
                f"pack state: {name}.{part} must have shape {tuple(own.shape)}, but got {got}. "
                "Load it into a pack built from the same configurations."
            )
        own.copy_(found)

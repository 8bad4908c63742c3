"""Draws kept masks of a sweep. Needs PyTorch."""

from pathlib import Path

from supermask.artifact import Artifact
from sweeps.figures import drawing, mask
from sweeps.store.paths import SweepPaths


def draw(paths: SweepPaths, trial: int) -> Path:
    """Draws the first layer of a kept mask as `masks/TRIAL.png`.

    Raises:
        ConfigError: If `masks/TRIAL.safetensors` cannot be read.
    """
    kept = paths.masks / f"{trial}.safetensors"
    artifact = Artifact.load(kept)
    masks = {layer.name: artifact.masks[layer.name] for layer in artifact.network.layers}
    figure = mask.mask_figure(masks, artifact.input_shape, title=f"{paths.name}, trial {trial}")
    drawing.save(figure, kept.with_suffix(".png"))
    return kept.with_suffix(".png")

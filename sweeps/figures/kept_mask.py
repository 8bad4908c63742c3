"""Draws kept masks of a sweep. Needs PyTorch."""

from pathlib import Path

from supermask.artifact import Artifact
from sweeps.figures import drawing, mask
from sweeps.objectives import Key, network_name
from sweeps.store.paths import SweepPaths


def draw(paths: SweepPaths, key: Key) -> Path:
    """Draws the first layer of the kept network of a trial and epoch as `masks/TRIAL-EPOCH.png`.

    Raises:
        ConfigError: If `masks/TRIAL-EPOCH.safetensors` cannot be read.
    """
    kept = paths.mask(*key)
    artifact = Artifact.load(kept)
    masks = {layer.name: artifact.masks[layer.name] for layer in artifact.network.layers}
    figure = mask.mask_figure(masks, artifact.input_shape, title=f"{paths.name}, network {network_name(key)}")
    drawing.save(figure, kept.with_suffix(".png"))
    return kept.with_suffix(".png")

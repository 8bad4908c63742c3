"""Whether all sides of a benchmark compute the same: a peer that does less work would be no yardstick."""

from dataclasses import replace

import torch

from benchmarks.peers import Images, PlainLoop, VmapLoop
from benchmarks.workload import Workload, noise
from supermask.data import standardise
from supermask.pack import Pack

TOLERANCE = 1e-10
"""Largest difference of a score in float64."""
_WIDTH, _BATCH, _STEPS, _LANES = 0.1, 16, 6, 2


def check(work: Workload, *, seed: int = 0) -> float:
    """Trains a narrow network from the same scores in float64 with a pack, the plain loop and vmap.

    The images are coloured noise. In flat parts of real ones, and under sparse kernels of one channel, max pooling
    meets values that are equal but for their rounding; which of them gets the gradient is a matter of the order of
    additions.

    Args:
        work: What is to be timed.
        seed: Draws the noise.

    Returns:
        The largest difference of a score.

    Raises:
        SystemExit: If the scores differ, or did not move at all.
    """
    cpu, wide = torch.device("cpu"), torch.float64
    _check_images(work)
    random = noise(_BATCH * (_STEPS + 1), (3, *work.images.input_shape[1:]), classes=work.images.classes, seed=seed)
    small = replace(work, width=_WIDTH, batch_size=_BATCH, images=random)
    drawn, images = small.cut(_STEPS, _LANES)
    # Few weights are hidden, so that sums of pixels seldom coincide.
    configs = [replace(config, pruning_rate=config.pruning_rate / 2) for config in drawn]

    pack = Pack(configs, images, dtype=wide)
    plain = [PlainLoop(config, images, device=cpu, dtype=wide) for config in configs]
    stacked = VmapLoop(configs, images, device=cpu, dtype=wide)
    started = [values.clone() for values in stacked.scores.values()]
    pack.train_epoch()
    stacked.steps()
    for loop in plain:
        loop.steps()

    state = pack.state_dict()
    ours = [state[f"{layer.name}.scores"] for layer in pack.network.layers]
    peers = {
        "the plain loop": [
            torch.stack(scores) for scores in zip(*(loop.model.parameters() for loop in plain), strict=True)
        ],
        "vmap": list(stacked.scores.values()),
    }
    if _largest(ours, started) < 1e6 * TOLERANCE:
        raise SystemExit(f"agreement, {work.network}: the scores must have moved, but they did not. Train longer.")
    differences = {name: _largest(ours, theirs) for name, theirs in peers.items()}
    for name, difference in differences.items():
        # Written so that NaN, too, is a difference.
        if not difference <= TOLERANCE:
            raise SystemExit(
                f"agreement, {work.network}: the scores of {name} must equal the pack's within {TOLERANCE:g} after "
                f"{_STEPS} steps in float64, but got a difference of {difference:g}. Compare no speed before both "
                "compute the same."
            )
    return max(differences.values())


def _check_images(work: Workload) -> None:
    """The DataLoader's transforms must give the images that the pack sees."""
    some = Images(work.images)
    theirs = torch.stack([some[index][0] for index in range(_BATCH)])
    difference = (theirs - standardise(work.images.train_images[:_BATCH], torch.float32)).abs().max().item()
    if not difference <= 1e-4:
        raise SystemExit(
            f"agreement, {work.network}: the DataLoader's images must equal the pack's within 1e-4, but got a "
            f"difference of {difference:g}. Compare no speed before both see the same."
        )


def _largest(left: list[torch.Tensor], right: list[torch.Tensor]) -> float:
    return max((a.detach() - b.detach()).abs().max().item() for a, b in zip(left, right, strict=True))

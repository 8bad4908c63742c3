"""SGD with Nesterov momentum and decoupled weight decay, one set of hyperparameters per lane."""

from jaxtyping import Float
from torch import Tensor

from supermask.config import TrainConfig
from supermask.masks import per_lane


def schedule_factors(config: TrainConfig, *, epoch: int, steps_per_epoch: int) -> list[float]:
    """Factors on learning rate and weight decay at each step of one epoch.

    `exponential`: decay_rate ** (t / decay_epochs), t in epochs and continuous in steps. `constant`: 1.

    Args:
        config: Gives the schedule.
        epoch: Epochs finished before this one.
        steps_per_epoch: Length of the result.
    """
    if config.schedule == "constant":
        return [1.0] * steps_per_epoch
    times = ((epoch + step / steps_per_epoch) / config.decay_epochs for step in range(steps_per_epoch))
    return [config.decay_rate**time for time in times]


def nesterov_update(
    scores: Float[Tensor, "lane ..."],
    velocity: Float[Tensor, "lane ..."],
    gradients: Float[Tensor, "lane ..."],
    *,
    learning_rate: Float[Tensor, " lane"],
    weight_decay: Float[Tensor, " lane"],
    momentum: Float[Tensor, " lane"],
) -> None:
    """One step, in place: S <- (1 - wd) S; v <- m v - lr g; S <- S + m v - lr g.

    The decay is **not** multiplied by the learning rate, unlike in PyTorch's own optimisers, and the
    velocity carries the learning rate of its step, as in the authors' TensorFlow code.
    """
    rate, decay, inertia = (per_lane(value, scores) for value in (learning_rate, weight_decay, momentum))
    step = rate * gradients
    moved = inertia * velocity - step
    velocity.copy_(moved)
    scores.copy_(scores * (1 - decay) + inertia * moved - step)

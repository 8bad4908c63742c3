import numpy as np
import pytest
import torch

from supermask import optim
from supermask.config import TrainConfig

STEPS = [
    # gradient, score after, velocity after; from score 1, velocity 0 with rate 0.1, decay 0.01, momentum 0.9
    (2.0, 1.0 * 0.99 + 0.9 * -0.2 - 0.2, -0.2),  # 0.61
    (-1.0, 0.61 * 0.99 + 0.9 * -0.08 + 0.1, -0.08),  # v = 0.9 * -0.2 + 0.1; S = 0.6319
    (0.0, 0.6319 * 0.99 + 0.9 * -0.072, -0.072),  # S = 0.560781
]


def _update(
    scores: torch.Tensor,
    velocity: torch.Tensor,
    gradients: torch.Tensor,
    *,
    rate: float = 0.1,
    decay: float = 0.01,
    momentum: float = 0.9,
) -> None:
    numbers = (torch.full((len(scores),), value, dtype=scores.dtype) for value in (rate, decay, momentum))
    rates, decays, momenta = numbers
    optim.nesterov_update(scores, velocity, gradients, learning_rate=rates, weight_decay=decays, momentum=momenta)


def test_steps_computed_by_hand() -> None:
    scores, velocity = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for gradient, score_after, velocity_after in STEPS:
        _update(scores, velocity, torch.tensor([[gradient]], dtype=torch.float64))
        assert scores.item() == pytest.approx(score_after, rel=1e-12)
        assert velocity.item() == pytest.approx(velocity_after, rel=1e-12)
    assert scores.item() == pytest.approx(0.560781, abs=1e-12)


def test_the_decay_is_not_multiplied_by_the_learning_rate() -> None:
    scores = torch.full((1, 2), 8.0)
    _update(scores, torch.zeros(1, 2), torch.zeros(1, 2), rate=1e-6, decay=0.25, momentum=0.9)
    assert scores.tolist() == [[6.0, 6.0]]


def test_without_decay_it_is_pytorch_s_nesterov() -> None:
    random = torch.Generator().manual_seed(1)
    start = torch.randn(2, 3, 4, generator=random, dtype=torch.float64)
    parameter = torch.nn.Parameter(start.clone())
    peer = torch.optim.SGD([parameter], lr=0.3, momentum=0.8, nesterov=True)
    scores, velocity = start.clone(), torch.zeros_like(start)
    for _ in range(6):
        gradient = torch.randn(2, 3, 4, generator=random, dtype=torch.float64)
        parameter.grad = gradient
        peer.step()
        _update(scores, velocity, gradient, rate=0.3, decay=0.0, momentum=0.8)
        torch.testing.assert_close(scores, parameter.detach(), rtol=1e-12, atol=1e-12)


def test_every_lane_uses_its_own_hyperparameters() -> None:
    rows = [(0.1, 0.0, 0.0), (0.5, 0.1, 0.9), (1e-3, 0.5, 0.5)]
    start, pushed, gradient = (torch.full((3, 2, 1, 3, 3), value, dtype=torch.float64) for value in (1.0, 0.5, 2.0))
    scores, velocity = start.clone(), pushed.clone()
    rates, decays, momenta = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    optim.nesterov_update(scores, velocity, gradient, learning_rate=rates, weight_decay=decays, momentum=momenta)
    for lane, (rate, decay, momentum) in enumerate(rows):
        moved = momentum * 0.5 - rate * 2.0
        assert velocity[lane].unique().item() == pytest.approx(moved, rel=1e-12)
        assert scores[lane].unique().item() == pytest.approx(1 - decay + momentum * moved - rate * 2.0, rel=1e-12)


def test_the_schedule_by_hand() -> None:
    config = TrainConfig(decay_rate=0.9, decay_epochs=10)
    assert optim.schedule_factors(config, epoch=0, steps_per_epoch=4)[0] == 1.0
    assert optim.schedule_factors(config, epoch=10, steps_per_epoch=4)[0] == pytest.approx(0.9)
    assert optim.schedule_factors(config, epoch=24, steps_per_epoch=2)[1] == pytest.approx(0.9**2.45)
    halving = TrainConfig(decay_rate=0.5, decay_epochs=0.5)
    assert optim.schedule_factors(halving, epoch=1, steps_per_epoch=2).tolist() == pytest.approx([0.25, 0.125])


def test_the_schedule_is_continuous_in_steps_across_epochs() -> None:
    config = TrainConfig(decay_rate=0.7, decay_epochs=3)
    factors = [
        factor for epoch in range(5) for factor in optim.schedule_factors(config, epoch=epoch, steps_per_epoch=7)
    ]
    ratios = np.array(factors[1:]) / np.array(factors[:-1])
    np.testing.assert_allclose(ratios, 0.7 ** (1 / 21), rtol=1e-12)


def test_the_constant_schedule_ignores_rate_and_epoch() -> None:
    config = TrainConfig(schedule="constant")
    assert optim.schedule_factors(config, epoch=50, steps_per_epoch=3).tolist() == [1.0, 1.0, 1.0]

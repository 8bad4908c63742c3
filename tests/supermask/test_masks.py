import math
from typing import Any

import hypothesis.extra.numpy as numpy_strategies
import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from supermask import masks, methods
from supermask.masks import MaskCounts

THRESHOLD_RULE = [
    # p, scores, threshold, mask
    (0.0, [0.1, -0.2, 0.0, 1.0], 0.0, [1, -1, 0, 1]),
    (0.25, [0.1, -0.2, 0.3, -1.0], 0.25, [0, 0, 1, -1]),
    (0.5, [0.5, -0.5, 0.6, -1.0], 0.5, [0, 0, 1, -1]),  # a score on the threshold is hidden
    (0.5, [4.0, -4.0, 2.0, 1.0], 2.0, [1, -1, 0, 0]),
    (0.75, [-0.1, -0.2, -0.3, -0.4], 0.3, [0, 0, 0, -1]),
    (0.5, [0.0, 0.0, 0.0, 0.0], 0.0, [0, 0, 0, 0]),
]
TARGET_RULE = [
    (0.0, [0.1, -0.2, 0.3, -1.0], -math.inf, [1, -1, 1, -1]),
    (0.25, [0.1, -0.2, 0.3, -1.0], 0.1, [0, -1, 1, -1]),
    (0.5, [-1.0, 0.3, -0.2, 0.1], 0.2, [-1, 1, 0, 0]),
    (0.75, [0.1, -0.2, 0.3, -1.0], 0.3, [0, 0, 0, -1]),
    (0.6, [0.1, -0.2, 0.3, -1.0], 0.2, [0, 0, 1, -1]),  # round(2.4) = 2
    (0.65, [0.1, -0.2, 0.3, -1.0], 0.3, [0, 0, 0, -1]),  # round(2.6) = 3
    (0.99, [0.1, -0.2, 0.3, -1.0], 1.0, [0, 0, 0, 0]),  # round(3.96) = 4: the whole layer
]


def _lanes(table: list[Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All rows of a table at once, as lanes of a 2x2 layer."""
    columns = (torch.tensor(column, dtype=torch.float64) for column in zip(*table, strict=True))
    rates, scores, thresholds, expected = columns
    return rates, scores.view(-1, 2, 2), thresholds, expected.view(-1, 2, 2)


def _fraction_of_magnitudes(scores: Tensor, rates: Tensor) -> Tensor:
    return masks.thresholds_of_fraction(scores.abs(), rates.tolist())


@pytest.mark.parametrize(
    ("rule", "table"),
    [(masks.thresholds_of_maximum, THRESHOLD_RULE), (_fraction_of_magnitudes, TARGET_RULE)],
    ids=["threshold", "target"],
)
def test_both_rules_give_the_masks_of_their_tables(rule: Any, table: list[Any]) -> None:
    rates, scores, thresholds, expected = _lanes(table)
    found = rule(scores, rates)
    torch.testing.assert_close(found, thresholds, rtol=1e-12, atol=0)
    mask = methods.masks_of("signed", scores, found)
    assert mask.dtype == torch.int8
    assert mask.tolist() == expected.tolist()


def test_masked_weights_are_the_product() -> None:
    scores = torch.tensor([[0.9, -0.9, 0.1, -0.1, 0.9, -0.9]])
    weights = torch.tensor([[1, 1, 1, 1, -1, -1]], dtype=torch.int8)
    found = methods.effective_weights("signed", scores, torch.tensor([0.5]), weights, None)
    assert found.tolist() == [[1, -1, 0, 0, -1, 1]]


@st.composite
def layers(draw: st.DrawFn) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Scores of distinct positive and negative magnitudes."""
    magnitudes = draw(st.lists(st.integers(1, 2**40), min_size=1, max_size=60, unique=True))
    signs = draw(st.lists(st.sampled_from([-1, 1]), min_size=len(magnitudes), max_size=len(magnitudes)))
    return np.array(magnitudes) * np.array(signs) / 2**40


RATES = st.floats(0, 1, exclude_max=True)


@given(layers(), RATES)
def test_rule_target_hides_exactly_the_rounded_fraction_and_the_smallest(
    scores: np.ndarray[Any, np.dtype[np.float64]], rate: float
) -> None:
    stacked = torch.from_numpy(scores)[None]
    mask = methods.masks_of(
        "signed", stacked, _fraction_of_magnitudes(stacked, torch.tensor([rate], dtype=torch.float64))
    )[0]
    hidden = mask.numpy() == 0
    assert hidden.sum() == round(rate * len(scores))
    assert np.abs(scores[hidden]).max(initial=0) < np.abs(scores[~hidden]).min(initial=2)
    assert (np.sign(scores)[~hidden] == mask.numpy()[~hidden]).all()


@given(
    numpy_strategies.arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=st.floats(width=32, allow_nan=False)
    ),
    st.data(),
)
def test_halving_finds_the_value_of_every_rank(values: Any, data: st.DataObject) -> None:
    rows = torch.from_numpy(values)
    ranks = [data.draw(st.integers(1, rows.shape[1])) for _ in rows]
    expected = torch.stack([row.kthvalue(rank).values for row, rank in zip(rows, ranks, strict=True)])
    torch.testing.assert_close(masks.smallest(rows, torch.tensor(ranks)), expected, rtol=0, atol=0)


@given(layers(), RATES)
def test_rule_threshold_keeps_the_largest_score_whatever_the_rate(
    scores: np.ndarray[Any, np.dtype[np.float64]], rate: float
) -> None:
    stacked = torch.from_numpy(scores)[None]
    tau = masks.thresholds_of_maximum(stacked, torch.tensor([rate], dtype=torch.float64))
    mask = methods.masks_of("signed", stacked, tau)[0].numpy()
    assert mask[np.abs(scores).argmax()] == np.sign(scores[np.abs(scores).argmax()])
    assert (mask == 0).sum() == (np.abs(scores) <= rate * np.abs(scores).max()).sum()


def test_with_uniform_scores_the_pruning_rate_is_the_hidden_fraction() -> None:
    scores = torch.rand(3, 200, 500, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rates = torch.tensor([0.1, 0.5, 0.9])
    mask = methods.masks_of("signed", scores, masks.thresholds_of_maximum(scores, rates))
    hidden = (mask == 0).flatten(1).double().mean(dim=1)
    torch.testing.assert_close(hidden, rates.double(), rtol=0, atol=0.006)  # 4 standard deviations


class _KeepHideInvert(torch.autograd.Function):
    """The paper's definition, one weight at a time: forward W * M, backward dL/d(W * M) * W."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, weights: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(weights)
        pairs = zip(scores.flatten().tolist(), weights.flatten().tolist(), strict=True)
        chosen = [w if s > threshold else -w if s < -threshold else 0.0 for s, w in pairs]
        return torch.tensor(chosen, dtype=scores.dtype).view(scores.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        return gradients[0] * weights, None, None


_reals = st.floats(-3, 3, allow_subnormal=False)


@given(
    numpy_strategies.arrays(np.float64, (2, 3, 4), elements=_reals),
    numpy_strategies.arrays(np.float64, (2, 3, 4), elements=_reals),
    numpy_strategies.arrays(np.float64, (2,), elements=st.floats(0, 2)),
)
def test_the_straight_through_gradient_is_that_of_the_definition(scores: Any, weights: Any, thresholds: Any) -> None:
    lanes, frozen, tau = (torch.from_numpy(array.copy()) for array in (scores, weights, thresholds))
    images = torch.linspace(-1, 1, 20, dtype=torch.float64).view(5, 4)

    leaf = methods.effective_weights("signed", lanes, tau, frozen, None).requires_grad_()
    (gradient,) = torch.autograd.grad((images @ leaf.mT).exp().sum(), leaf)
    found = methods.score_gradients("signed", gradient, lanes, frozen)

    for lane in range(2):
        own = lanes[lane].clone().requires_grad_()
        masked = _KeepHideInvert.apply(own, frozen[lane], float(tau[lane]))
        assert torch.equal(masked, leaf[lane])  # type: ignore[arg-type]
        (expected,) = torch.autograd.grad((images @ masked.mT).exp().sum(), own)  # type: ignore[union-attr]
        torch.testing.assert_close(found[lane], expected, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_bfloat16_products_reaches_the_scores_in_float32() -> None:
    gradient = torch.tensor([[0.5, -0.25]], dtype=torch.bfloat16)
    found = methods.score_gradients("signed", gradient, torch.zeros(1, 2), torch.tensor([[-1, 1]], dtype=torch.int8))
    assert found.dtype == torch.float32
    assert found.tolist() == [[-0.5, -0.25]]


@pytest.mark.parametrize(
    ("mask", "counts"),
    [([1, 1, 0, -1, 0, 0], (2, 3, 1)), ([0, 0], (0, 2, 0)), ([-1, -1], (0, 0, 2)), ([1], (1, 0, 0))],
)
def test_counts_of_kept_hidden_and_inverted(mask: list[int], counts: tuple[int, int, int]) -> None:
    assert MaskCounts.of(torch.tensor(mask, dtype=torch.int8)) == MaskCounts(*counts)


def test_one_number_per_lane_broadcasts_over_any_layer() -> None:
    numbers = torch.tensor([1.0, 2.0])
    assert masks.per_lane(numbers, torch.zeros(2, 3)).shape == (2, 1)
    assert masks.per_lane(numbers, torch.zeros(2, 3, 4, 3, 3)).shape == (2, 1, 1, 1, 1)


def test_shapes_are_checked_while_the_tests_run() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="threshold"):
        methods.masks_of("signed", torch.zeros(2, 3), torch.zeros(3))

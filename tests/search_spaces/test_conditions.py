"""Every message about a condition, by its exact text."""

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.load import load

BAD_CONDITIONS = [
    # A search, and the one fault it has.
    (
        "learning_rate: {low: 0.1, high: 1, when: {mask_rul: target}}",
        "search.learning_rate.when.mask_rul: a condition must name a searched or fixed field, but got 'mask_rul'. "
        "Did you mean 'mask_rule'?",
    ),
    (
        "learning_rate: {low: 0.1, high: 1, when: {schedule: constant}}",
        "search.learning_rate.when.schedule: a condition must name a searched or fixed field, but got 'schedule'. "
        "Add schedule to search or remove the condition.",
    ),
    (
        "learning_rate: {low: 0.1, high: 1, when: {mask_rule: target}}",
        "search.learning_rate.when.mask_rule: a condition must hold in some trial, but got 'target' while "
        "fixed.mask_rule is 'threshold'. Remove search.learning_rate, or search mask_rule.",
    ),
    (
        "learning_rate: {low: 0.1, high: 1, when: {mask_rule: targte}}",
        "search.learning_rate.when.mask_rule: must be one of threshold, target, but got 'targte'. "
        "Did you mean 'target'?",
    ),
    (
        "network: [fcn, conv2]\n  learning_rate: {low: 0.1, high: 1, when: {network: conv4}}",
        "search.learning_rate.when.network: a condition must hold in some trial, and the search has one of "
        "fcn, conv2, but got 'conv4'. Choose one of these.",
    ),
    (
        "batch_size: {low: 32, high: 128, step: 32}\n  learning_rate: {low: 0.1, high: 1, when: {batch_size: 65}}",
        "search.learning_rate.when.batch_size: a condition must hold in some trial, and the search has "
        "32 to 128 in steps of 32, but got 65. Choose one of these.",
    ),
    (
        "weight_gain: {low: 1, high: 2, step: 0.5}\n  learning_rate: {low: 0.1, high: 1, when: {weight_gain: 1.7}}",
        "search.learning_rate.when.weight_gain: a condition must hold in some trial, and the search has "
        "1.0 to 2.0 in steps of 0.5, but got 1.7. Choose one of these.",
    ),
    (
        "momentum: {low: 0.1, high: 0.9}\n  learning_rate: {low: 0.1, high: 1, when: {momentum: 0.5}}",
        "search.learning_rate.when.momentum: a condition needs a field with choices or steps, but got a continuous "
        "range. Search that field as choices.",
    ),
    (
        "momentum: {choices: [0.1], when: {width: 1}}\n  width: {choices: [1], when: {momentum: 0.1}}",
        "search: conditions must not form a circle, but got momentum -> width -> momentum. Remove one of these `when`.",
    ),
    (
        "momentum: {choices: [0.1], when: {momentum: 0.1}}",
        "search: conditions must not form a circle, but got momentum -> momentum. Remove one of these `when`.",
    ),
    (
        "network: [fcn, conv2]\n  momentum: {choices: [0.1], when: {network: fcn}}\n"
        "  width: {choices: [1], when: {momentum: 0.1, network: conv2}}",
        "search.width.when: a condition must hold in some trial, but got network 'conv2' and 'fcn' at once. "
        "Remove one of the two.",
    ),
]


@pytest.mark.parametrize(("entry", "message"), BAD_CONDITIONS, ids=[entry for entry, _ in BAD_CONDITIONS])
def test_message_about_a_condition(entry: str, message: str, only_fault: Callable[[str], str]) -> None:
    text = f"name: good\nbudget: {{trials: 4}}\nfixed: {{mask_rule: threshold}}\nsearch:\n  {entry}\n"

    assert only_fault(text) == message


def test_a_condition_on_a_fixed_field_that_holds_is_resolved(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    entry = "{low: 0, high: 0.5, when: {mask_rule: target}}"
    path.write_text(
        f"name: good\nbudget: {{trials: 4}}\nfixed: {{mask_rule: target}}\nsearch: {{pruning_rate: {entry}}}\n"
    )

    assert load(path).parameters["pruning_rate"].when == {}

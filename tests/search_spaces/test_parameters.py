"""Every message about a searched field, by its exact text."""

from collections.abc import Callable

import pytest

NOT_A_NUMBER = "must be a finite number, but got"
BAD_SEARCH = [
    # A searched field, and the one fault it has.
    (
        "learning_rate: {low: 3e-4, high: 1}",
        f"search.learning_rate.low: {NOT_A_NUMBER} '3e-4'. YAML reads 3e-4 as text; write 3.0e-4.",
    ),
    (
        "learning_rate: {low: 1.e-4, high: 2.5E3}",
        f"search.learning_rate.high: {NOT_A_NUMBER} '2.5E3'. YAML reads 2.5E3 as text; write 2.5e+3.",
    ),
    (
        "learning_rate: {low: '0.1', high: 1}",
        f"search.learning_rate.low: {NOT_A_NUMBER} '0.1'. Write 0.1 without quotes.",
    ),
    (
        "learning_rate: {low: '1.0e-3', high: 1}",
        f"search.learning_rate.low: {NOT_A_NUMBER} '1.0e-3'. Write 1.0e-3 without quotes.",
    ),
    ("learning_rate: {low: small, high: 1}", f"search.learning_rate.low: {NOT_A_NUMBER} 'small'. Give a number."),
    ("learning_rate: {low: yes, high: 1}", f"search.learning_rate.low: {NOT_A_NUMBER} true. Give a number."),
    ("learning_rate: {low: .nan, high: 1}", f"search.learning_rate.low: {NOT_A_NUMBER} nan. Give a number."),
    ("learning_rate: {low: 1, high: .inf}", f"search.learning_rate.high: {NOT_A_NUMBER} inf. Give a number."),
    ("learning_rate: {low: , high: 1}", f"search.learning_rate.low: {NOT_A_NUMBER} nothing. Give a number."),
    ("learning_rate: {low: [1], high: 1}", f"search.learning_rate.low: {NOT_A_NUMBER} [1]. Give a number."),
    (
        "weight_gain: {low: elu, high: 1}",
        f"search.weight_gain.low: {NOT_A_NUMBER} 'elu'. 'elu' is a value of gain_rule.",
    ),
    (
        "learning_rate: {low: 1, high: 0.5}",
        "search.learning_rate: low <= high must hold, but got low 1 and high 0.5. Swap them.",
    ),
    (
        "learning_rate: {low: 0, high: 0.5}",
        "search.learning_rate.low: 0 < learning_rate must hold, but got 0. Choose a value inside the range.",
    ),
    (
        "pruning_rate: {low: 0, high: 1}",
        "search.pruning_rate.high: 0 <= pruning_rate < 1 must hold, but got 1. Choose a value inside the range.",
    ),
    (
        "validation_fraction: {low: 0.1, high: 0.95}",
        "search.validation_fraction.high: 0 < validation_fraction <= 0.9 must hold, but got 0.95. "
        "Choose a value inside the range.",
    ),
    (
        "weight_decay: {low: 0, high: 0.1, log: true}",
        "search.weight_decay.low: low > 0 must hold with log, but got 0. Choose a small positive low, or remove log.",
    ),
    (
        "weight_decay: {low: 0.1, high: 0.2, log: true, step: 0.1}",
        "search.weight_decay: a range has log or step, not both, but got log and step 0.1. Remove one of them.",
    ),
    (
        "weight_decay: {low: 0.1, high: 0.2, step: 0}",
        "search.weight_decay.step: step > 0 must hold, but got 0. Choose a positive step.",
    ),
    (
        "weight_decay: {low: 0.1, high: 0.2, step: 1e-2}",
        f"search.weight_decay.step: {NOT_A_NUMBER} '1e-2'. YAML reads 1e-2 as text; write 1.0e-2.",
    ),
    (
        "weight_decay: {low: 0.1, high: 0.8, step: 0.2}",
        "search.weight_decay.step: step must divide high - low, but got low 0.1, high 0.8, step 0.2. "
        "The top would never be sampled: end at 0.7 or change the step.",
    ),
    (
        "weight_decay: {low: 0, high: 0.5, step: 1.0e-12}",
        "search.weight_decay.step: a range has at most 1000000000 steps, but got low 0, high 0.5, step 1e-12. "
        "Remove step.",
    ),
    (
        "batch_size: {low: 32, high: 100, step: 32}",
        "search.batch_size.step: step must divide high - low, but got low 32, high 100, step 32. "
        "The top would never be sampled: end at 96 or change the step.",
    ),
    (
        "batch_size: {low: 16.5, high: 32}",
        "search.batch_size.low: must be a whole number, but got 16.5. Give a whole number.",
    ),
    ("batch_size: {low: 16.0, high: 32}", "search.batch_size.low: must be a whole number, but got 16.0. Write 16."),
    (
        "batch_size: {low: 1, high: 1e3}",
        "search.batch_size.high: must be a whole number, but got '1e3'. YAML reads 1e3 as text; write 1000.",
    ),
    (
        "batch_size: {low: 1, high: 3, step: 0.5}",
        "search.batch_size.step: must be a whole number, but got 0.5. Give a whole number.",
    ),
    (
        "seed: {low: 0, high: 9007199254740993}",
        "search.seed.high: the end of a searched range must be at most 2**53, but got 9007199254740993. "
        "Choose a smaller end, or list choices.",
    ),
    (
        "network: {low: 1, high: 2}",
        "search.network: network takes names, not numbers, but got a range. "
        "Write `choices: [fcn, conv2, conv4, conv6, conv8, resnet20, resnet56, resnet110]`.",
    ),
    (
        "learning_rate: 0.1",
        "search.learning_rate: must be {low, high}, {choices} or a list, but got 0.1. "
        "To keep one value, write it under fixed: `learning_rate: 0.1`.",
    ),
    ("learning_rate: {low: 0.1}", "search.learning_rate.high: must be given, but got nothing. Add `high: 0.9`."),
    (
        "learning_rate: {low: 0.1, high: 1, stp: 0.1}",
        "search.learning_rate.stp: must be a known key, but got 'stp'. Did you mean 'step'?",
    ),
    (
        "learning_rate: {low: 0.1, high: 1, log: 1}",
        "search.learning_rate.log: must be true or false, but got 1. Write true or false.",
    ),
    (
        "learning_rate: {low: 0.1, high: 1, when: mask_rule}",
        "search.learning_rate.when: must be a mapping, but got 'mask_rule'. Write it like `when: {mask_rule: target}`.",
    ),
    (
        "learning_rat: {low: 0.1, high: 1}",
        "search.learning_rat: must be a known field, but got 'learning_rat'. Did you mean 'learning_rate'?",
    ),
    ("1: {low: 0.1, high: 1}", "search.1: must be a known field, but got '1'. Did you mean 'width'?"),
    ("network: []", "search.network: must have at least one choice, but got an empty list. List the values to try."),
    (
        "network: {choices: fcn}",
        "search.network.choices: must be a list, but got 'fcn'. Write it like `choices: [1, 2]`.",
    ),
    (
        "network: [fcn, conv3]",
        "search.network.1: must be one of fcn, conv2, conv4, conv6, conv8, resnet20, resnet56, resnet110, "
        "but got 'conv3'. Did you mean 'conv8'?",
    ),
    ("network: [fcn, conv2, fcn]", "search.network.2: choices must differ, but got 'fcn' again. Remove it."),
    ("momentum: [0, 0.0]", "search.momentum.1: choices must differ, but got 0.0 again. Remove it."),
    ("network: [fcn, 2]", "search.network.1: must be a name, but got 2. Give a name."),
    ("dataset: [digits, '']", "search.dataset.1: must be a name, but got ''. Give a name that is not empty."),
    (
        "dataset: [digits, on]",
        "search.dataset.1: must be a name, but got true. "
        "YAML reads on, off, yes and no as true or false; put a name in quotes.",
    ),
    ("batch_size: [64, 128.5]", "search.batch_size.1: must be a whole number, but got 128.5. Give a whole number."),
    ("weight_gain: [1, elus]", f"search.weight_gain.1: {NOT_A_NUMBER} 'elus'. 'elus' is a value of gain_rule."),
    (
        "mask_rule: [target]",
        "search.mask_rule: a field is fixed or searched, but got it here and in fixed. Remove it from one of the two.",
    ),
    (
        "learning_rate: {low: 0.1, high: 1, low: 0.2}",
        "search.learning_rate.low: a key stands once in its mapping, but got it again at line 5. "
        "Remove one of the two.",
    ),
]


@pytest.mark.parametrize(("entry", "message"), BAD_SEARCH, ids=[entry for entry, _ in BAD_SEARCH])
def test_message_about_a_searched_field(entry: str, message: str, only_fault: Callable[[str], str]) -> None:
    text = f"name: good\nbudget: {{trials: 4}}\nfixed: {{mask_rule: threshold}}\nsearch:\n  {entry}\n"

    assert only_fault(text) == message

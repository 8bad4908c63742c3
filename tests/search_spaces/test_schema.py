"""Every message about the sections of a document, by its exact text."""

from collections.abc import Callable

import pytest

HEAD = "name: good\nbudget: {trials: 4}\n"
SEARCH = "search: {learning_rate: {low: 0.01, high: 1.0}}\n"
METRICS = "val_accuracy, val_loss, train_loss, remaining, inverted"

BAD_DOCUMENTS = [
    (
        "budget: {trials: 4}\n" + SEARCH,
        "name: must be given, but got nothing. Add `name: my_space`.",
    ),
    ("name: 7\nbudget: {trials: 4}\n" + SEARCH, "name: must be text, but got 7. Put it in quotes."),
    ("name:\nbudget: {trials: 4}\n" + SEARCH, "name: must be text, but got nothing. Write it like `name: my_space`."),
    *(
        (
            f"name: {name}\nbudget: {{trials: 4}}\n" + SEARCH,
            "name: must be at most 100 letters, digits, '.', '_' and '-' and start with a letter or digit, "
            f"but got {shown}. Choose such a name.",
        )
        for name, shown in [
            ("../up", "'../up'"),
            ("..", "'..'"),
            ("a b", "'a b'"),
            ("-a", "'-a'"),
            ("é", "'é'"),
            ("''", "''"),
            ('"a\\n"', r"'a\n'"),
            ("a" * 101, f"'{'a' * 76}..."),
        ]
    ),
    (
        HEAD,
        "search: must be given, but got nothing. Add `search: {learning_rate: {low: 0.01, high: 1.0, log: true}}`.",
    ),
    (
        HEAD + "search: {}",
        "search: at least one field must be searched, but got none. "
        "Add e.g. `learning_rate: {low: 0.01, high: 1.0, log: true}`.",
    ),
    (
        HEAD + "search:",
        "search: must be a mapping, but got nothing. "
        "Write it like `search: {learning_rate: {low: 0.01, high: 1.0, log: true}}`.",
    ),
    (
        HEAD + SEARCH + "fixed: [fcn]",
        "fixed: must be a mapping, but got ['fcn']. Write it like `fixed: {network: fcn}`.",
    ),
    (
        HEAD + SEARCH + "fixed: {network: cnn}",
        "fixed.network: must be one of fcn, conv2, conv4, conv6, conv8, resnet20, resnet56, resnet110, "
        "but got 'cnn'. Did you mean 'fcn'?",
    ),
    (
        HEAD + SEARCH + "fixed: {momentun: 0.9}",
        "fixed.momentun: must be a known field, but got 'momentun'. Did you mean 'momentum'?",
    ),
    (
        # A legal name of weight_gain, and of no other number.
        HEAD + SEARCH + "fixed: {momentum: elu}",
        "fixed.momentum: must be a finite number, but got 'elu'. 'elu' is a value of gain_rule.",
    ),
    (
        HEAD + SEARCH + "fixed: {epochs: 0}",
        "fixed.epochs: 1 <= epochs <= 1e+06 must hold, but got 0. Choose a value inside the range.",
    ),
    (
        HEAD + SEARCH + "fixed: {learning_rate: 0.1}",
        "search.learning_rate: a field is fixed or searched, but got it here and in fixed. "
        "Remove it from one of the two.",
    ),
    (
        HEAD + SEARCH + "serach: {}",
        "serach: must be a known key, but got 'serach'. Did you mean 'search'?",
    ),
    (
        HEAD + SEARCH + "trials: 9",
        "trials: must be a known key, but got 'trials'. It is a key of budget: write 'budget.trials'.",
    ),
    (
        HEAD + SEARCH + "objectives: {}",
        "objectives: at least one objective must be given, but got none. "
        "Add e.g. `val_accuracy: maximize`, or remove the key for the default.",
    ),
    (
        HEAD + SEARCH + "objectives:",
        "objectives: must be a mapping, but got nothing. Write it like `objectives: {val_accuracy: maximize}`.",
    ),
    (
        HEAD + SEARCH + "objectives: [val_accuracy]",
        "objectives: must be a mapping, but got ['val_accuracy']. "
        "Write it like `objectives: {val_accuracy: maximize}`.",
    ),
    (
        HEAD + SEARCH + "objectives: {accuracy: maximize}",
        f"objectives.accuracy: must be one of {METRICS}, but got 'accuracy'. Did you mean 'val_accuracy'?",
    ),
    (
        HEAD + SEARCH + "objectives: {val_loss: min}",
        "objectives.val_loss: must be maximize or minimize, but got 'min'. Did you mean 'minimize'?",
    ),
    (
        HEAD + SEARCH + "constraints: val_accuracy >= 0.9",
        "constraints: must be a list, but got 'val_accuracy >= 0.9'. "
        'Write it like `constraints: ["val_accuracy >= 0.9"]`.',
    ),
    *(
        (
            HEAD + SEARCH + f"constraints: [{text}]",
            f"constraints.0: must read METRIC >= NUMBER or METRIC <= NUMBER, but got {shown}. "
            'Write it like "val_accuracy >= 0.9".',
        )
        for text, shown in [
            ("val_accuracy > 0.9", "'val_accuracy > 0.9'"),
            ("val_accuracy >= high", "'val_accuracy >= high'"),
            ("val_loss <= inf", "'val_loss <= inf'"),
            ("0.9", "0.9"),
        ]
    ),
    (
        HEAD + SEARCH + "constraints: [acuracy >= 0.9]",
        f"constraints.0: must be on one of {METRICS}, but got 'acuracy'. Did you mean 'val_accuracy'?",
    ),
    (
        HEAD + SEARCH + "constraints: [val_accuracy >= 90]",
        "constraints.0: 0 <= val_accuracy <= 1 must hold, but got 90.0. Write a fraction: 90 % is 0.9.",
    ),
    ("name: good\n" + SEARCH, "budget: must be given, but got nothing. Add `budget: {trials: 64}`."),
    (
        "name: good\nbudget: 64\n" + SEARCH,
        "budget: must be a mapping, but got 64. Write it like `budget: {trials: 64}`.",
    ),
    ("name: good\nbudget: {}\n" + SEARCH, "budget.trials: must be given, but got nothing. Add `trials: 64`."),
    (
        "name: good\nbudget: {trials: 0}\n" + SEARCH,
        "budget.trials: trials >= 1 must hold, but got 0. Choose a value inside the range.",
    ),
    (
        "name: good\nbudget: {trials: 1e2}\n" + SEARCH,
        "budget.trials: must be a whole number, but got '1e2'. YAML reads 1e2 as text; write 100.",
    ),
    (
        "name: good\nbudget: {trials: 4, trails: 4}\n" + SEARCH,
        "budget.trails: must be a known key, but got 'trails'. Did you mean 'trials'?",
    ),
    (
        "name: good\nbudget: {trials: 4, epochs: 5}\n" + SEARCH,
        "budget.epochs: must be a known key, but got 'epochs'. It is a field of a trial: write 'fixed.epochs' or "
        "'search.epochs'.",
    ),
    (
        HEAD + SEARCH + "sampler: tpe",
        "sampler: must be a mapping, but got 'tpe'. Write it like `sampler: {name: tpe}`.",
    ),
    (
        HEAD + SEARCH + "sampler: {name: nsga}",
        "sampler.name: must be one of tpe, random, nsga2, gp, grid, qmc, but got 'nsga'. Did you mean 'nsga2'?",
    ),
    (
        HEAD + SEARCH + "sampler: {seed: 4294967296}",
        "sampler.seed: seed <= 4294967295 must hold, but got 4294967296. Choose a value inside the range.",
    ),
    (
        HEAD + SEARCH + "stopping: {eta: 1, grace_epochs: 1}",
        "stopping.eta: eta >= 2 must hold, but got 1. Choose a value inside the range.",
    ),
    (
        HEAD + SEARCH + "stopping: {eta: 2}",
        "stopping.grace_epochs: must be given, but got nothing. Add `grace_epochs: 5`.",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_DOCUMENTS, ids=[message[:60] for _, message in BAD_DOCUMENTS])
def test_message_about_a_document(text: str, message: str, only_fault: Callable[[str], str]) -> None:
    assert only_fault(text) == message

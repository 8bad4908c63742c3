import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from supermask.config import RULES, STRUCTURAL, ConfigError, TrainConfig

NAN, INF = math.nan, math.inf

NETWORK = "network must be one of fcn, conv2, conv4, conv6, conv8, resnet20, resnet56, resnet110"

BAD: list[tuple[str, Any, str]] = [
    ("network", "resnet21", f"{NETWORK}, but got 'resnet21'. Did you mean 'resnet20'?"),
    ("network", "FCN", f"{NETWORK}, but got 'FCN'. Did you mean 'fcn'?"),
    ("network", "convv4", f"{NETWORK}, but got 'convv4'. Did you mean 'conv4'?"),
    ("network", 2, f"{NETWORK}, but got 2. Give a name."),
    ("network", None, f"{NETWORK}, but got None. Give a name."),
    ("width", 0, "0 < width <= 64 must hold, but got 0. Choose a value inside the range."),
    ("width", 64.5, "0 < width <= 64 must hold, but got 64.5. Choose a value inside the range."),
    ("width", "1", "0 < width <= 64 must hold, but got '1'. Give a number."),
    ("dataset", "", "dataset must be a name, but got ''. Give a name."),
    ("dataset", 10, "dataset must be a name, but got 10. Give a name."),
    ("method", "unsigned",
     "method must be one of signed, zhou, edge_popup, multi_prize, dense, but got 'unsigned'. Did you mean 'signed'?"),
    ("mask_rule", "treshold",
     "mask_rule must be one of threshold, target, but got 'treshold'. Did you mean 'threshold'?"),
    ("mask_rule", "", "mask_rule must be one of threshold, target, but got ''. Did you mean 'threshold'?"),
    ("pruning_rate", -0.01, "0 <= pruning_rate < 1 must hold, but got -0.01. Choose a value inside the range."),
    ("pruning_rate", 1.0, "0 <= pruning_rate < 1 must hold, but got 1.0. Choose a value inside the range."),
    ("pruning_rate", NAN, "0 <= pruning_rate < 1 must hold, but got nan. Give a finite number."),
    ("pruning_rate", True, "0 <= pruning_rate < 1 must hold, but got True. Give a number."),
    ("learning_rate", 0.0, "0 < learning_rate must hold, but got 0.0. Choose a value inside the range."),
    ("learning_rate", -0.1, "0 < learning_rate must hold, but got -0.1. Choose a value inside the range."),
    ("learning_rate", INF, "0 < learning_rate must hold, but got inf. Give a finite number."),
    ("learning_rate", NAN, "0 < learning_rate must hold, but got nan. Give a finite number."),
    ("learning_rate", "3e-4", "0 < learning_rate must hold, but got '3e-4'. Give a number."),
    ("learning_rate", 10**309, f"0 < learning_rate must hold, but got {10**309}. Give a finite number."),
    ("weight_decay", -1e-4, "0 <= weight_decay < 1 must hold, but got -0.0001. Choose a value inside the range."),
    ("weight_decay", 1, "0 <= weight_decay < 1 must hold, but got 1. Choose a value inside the range."),
    ("momentum", -0.5, "0 <= momentum < 1 must hold, but got -0.5. Choose a value inside the range."),
    ("momentum", 1.0, "0 <= momentum < 1 must hold, but got 1.0. Choose a value inside the range."),
    ("schedule", "cosine",
     "schedule must be one of exponential, plateau, constant, but got 'cosine'. Did you mean 'constant'?"),
    ("decay_rate", 0.0, "0 < decay_rate <= 1 must hold, but got 0.0. Choose a value inside the range."),
    ("decay_rate", 1.1, "0 < decay_rate <= 1 must hold, but got 1.1. Choose a value inside the range."),
    ("decay_epochs", 0, "0 < decay_epochs must hold, but got 0. Choose a value inside the range."),
    ("decay_epochs", INF, "0 < decay_epochs must hold, but got inf. Give a finite number."),
    ("plateau_patience", 0,
     "1 <= plateau_patience <= 1e+06 must hold, but got 0. Choose a value inside the range."),
    ("plateau_factor", 0, "0 < plateau_factor <= 1 must hold, but got 0. Choose a value inside the range."),
    ("plateau_reductions", -1,
     "0 <= plateau_reductions <= 1e+06 must hold, but got -1. Choose a value inside the range."),
    ("epochs", 0, "1 <= epochs <= 1e+06 must hold, but got 0. Choose a value inside the range."),
    ("epochs", 1_000_001, "1 <= epochs <= 1e+06 must hold, but got 1000001. Choose a value inside the range."),
    ("epochs", 10.0, "1 <= epochs <= 1e+06 must hold, but got 10.0. Give a whole number."),
    ("epochs", True, "1 <= epochs <= 1e+06 must hold, but got True. Give a whole number."),
    ("batch_size", 0, "1 <= batch_size <= 1e+06 must hold, but got 0. Choose a value inside the range."),
    ("batch_size", 128.5, "1 <= batch_size <= 1e+06 must hold, but got 128.5. Give a whole number."),
    ("augmentation", "crop", "augmentation must be one of none, crop_flip, but got 'crop'. Did you mean 'crop_flip'?"),
    ("stem_norm", "train", "stem_norm must be one of fixed, trained, but got 'train'. Did you mean 'trained'?"),
    ("weight_init", "norml",
     "weight_init must be one of signed_constant, constant, normal, uniform, but got 'norml'. Did you mean 'normal'?"),
    ("weight_scale", "xaviar", "weight_scale must be one of he, xavier, but got 'xaviar'. Did you mean 'xavier'?"),
    ("gain_rule", "selu", "gain_rule must be one of fixed, elu, elus, but got 'selu'. Did you mean 'elu'?"),
    ("weight_gain", 0, "0 < weight_gain must hold, but got 0. Choose a value inside the range."),
    ("weight_gain", "relu", "0 < weight_gain must hold, but got 'relu'. Give a number."),
    ("score_scale", "hee", "score_scale must be one of he, xavier, but got 'hee'. Did you mean 'he'?"),
    ("score_gain", -1, "0 < score_gain must hold, but got -1. Choose a value inside the range."),
    ("seed", -1, "0 <= seed <= 9.22337e+18 must hold, but got -1. Choose a value inside the range."),
    ("seed", 2**63,
     "0 <= seed <= 9.22337e+18 must hold, but got 9223372036854775808. Choose a value inside the range."),
    ("seed", 1.0, "0 <= seed <= 9.22337e+18 must hold, but got 1.0. Give a whole number."),
    ("data_seed", -1, "0 <= data_seed <= 9.22337e+18 must hold, but got -1. Choose a value inside the range."),
    ("validation_fraction", 0.0,
     "0 < validation_fraction <= 0.9 must hold, but got 0.0. Choose a value inside the range."),
    ("validation_fraction", 0.91,
     "0 < validation_fraction <= 0.9 must hold, but got 0.91. Choose a value inside the range."),
]  # fmt: skip

LEGAL_ENDS: list[tuple[str, Any]] = [
    ("width", 64),
    ("width", 1e-9),
    ("pruning_rate", 0),
    ("pruning_rate", math.nextafter(1, 0)),
    ("learning_rate", 5e-324),
    ("learning_rate", 1.7e308),
    ("weight_decay", 0),
    ("momentum", 0),
    ("decay_rate", 1),
    ("epochs", 1),
    ("epochs", 1_000_000),
    ("batch_size", 1),
    ("seed", 0),
    ("seed", 2**63 - 1),
    ("validation_fraction", 0.9),
]


@pytest.mark.parametrize(("name", "value", "text"), BAD)
def test_a_bad_value_is_refused_with_its_full_message(name: str, value: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{name: value})
    assert str(caught.value) == f"TrainConfig.{name}: {text}"


def test_the_table_of_bad_values_has_every_field() -> None:
    assert {name for name, _, _ in BAD} == {field.name for field in dataclasses.fields(TrainConfig)} == set(RULES)
    assert list(RULES) == [field.name for field in dataclasses.fields(TrainConfig)]


@pytest.mark.parametrize(("name", "value"), LEGAL_ENDS)
def test_the_ends_of_a_range_are_legal_as_written(name: str, value: Any) -> None:
    assert getattr(TrainConfig(**{name: value}), name) == value


def test_all_faults_are_reported_together_in_the_order_of_the_fields() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(epochs=0, network="fnc", learning_rate=-1.0)
    assert str(caught.value).splitlines() == [
        f"TrainConfig.network: {NETWORK}, but got 'fnc'. Did you mean 'fcn'?",
        "TrainConfig.learning_rate: 0 < learning_rate must hold, but got -1.0. Choose a value inside the range.",
        "TrainConfig.epochs: 1 <= epochs <= 1e+06 must hold, but got 0. Choose a value inside the range.",
    ]


def test_unknown_names_get_the_nearest_legal_one_all_together() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({"learning_rat": 0.1, "epochs": 3, "prunning_rate": 0.5})
    assert str(caught.value).splitlines() == [
        "TrainConfig.learning_rat: no such field exists, but got a value for it. Did you mean 'learning_rate'?",
        "TrainConfig.prunning_rate: no such field exists, but got a value for it. Did you mean 'pruning_rate'?",
    ]


def test_the_defaults_are_the_paper_s_fcn() -> None:
    config = TrainConfig()
    assert (config.network, config.dataset, config.mask_rule) == ("fcn", "mnist", "threshold")
    assert (config.momentum, config.decay_rate, config.decay_epochs, config.batch_size) == (0.9, 0.9, 10.0, 128)
    assert config.weight_init == "signed_constant"
    assert config.weight_gain == pytest.approx(1.5**0.5)


@pytest.mark.parametrize(
    ("rule", "rate", "square"),
    [("elu", 0.5, 0.75), ("elu", 0.9, 0.75), ("elus", 0.0, 0.75), ("elus", 0.5, 1.5), ("elus", 0.75, 3.0)],
)
def test_a_rule_gives_the_gain_and_is_kept(rule: str, rate: float, square: float) -> None:
    config = TrainConfig.from_dict({"gain_rule": rule, "pruning_rate": rate})
    assert config.gain**2 == pytest.approx(square)
    assert (config.gain_rule, config.pruning_rate) == (rule, rate)


def test_the_gain_is_fixed_unless_a_rule_is_given() -> None:
    assert TrainConfig(weight_gain=2.0).gain == 2.0
    assert TrainConfig(gain_rule="elus").gain == pytest.approx(TrainConfig().gain)


def test_whole_numbers_and_numpy_numbers_become_plain_floats() -> None:
    config = TrainConfig(width=2, learning_rate=1, pruning_rate=np.float64(0.25))
    assert (config.width, config.learning_rate, config.pruning_rate) == (2.0, 1.0, 0.25)
    assert {type(value) for value in (config.width, config.learning_rate, config.pruning_rate)} == {float}
    assert config == TrainConfig(width=2.0, learning_rate=1.0, pruning_rate=0.25)


def test_to_dict_and_from_dict_are_inverse_and_keep_the_order() -> None:
    config = TrainConfig(network="conv4", dataset="cifar10", weight_gain=2.0, seed=2**63 - 1)
    assert list(config.to_dict()) == list(RULES)
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", STRUCTURAL)
def test_structural_fields_change_the_structure(name: str) -> None:
    other = {
        "network": "conv2", "dataset": "digits", "method": "dense", "mask_rule": "target", "schedule": "constant",
        "augmentation": "crop_flip", "stem_norm": "trained",
    }  # fmt: skip
    owner: dict[str, Any] = {"network": "resnet20"} if name == "stem_norm" else {}
    change: dict[str, Any] = {name: other.get(name, 0.5 if RULES[name].kind is float else 7)}
    assert TrainConfig(**owner, **change).structure() != TrainConfig(**owner).structure()


@pytest.mark.parametrize("name", sorted(set(RULES) - set(STRUCTURAL)))
def test_lane_parameters_do_not_change_the_structure(name: str) -> None:
    names = {"weight_init": "normal", "weight_scale": "xavier", "score_scale": "he", "gain_rule": "elus"}
    change: dict[str, Any] = {name: names.get(name, 0.125 if RULES[name].kind is float else 7)}
    base: dict[str, Any] = {"schedule": "plateau"} if name.startswith("plateau") else {}
    changed = TrainConfig(**base, **change)
    assert changed != TrainConfig(**base)
    assert changed.structure() == TrainConfig(**base).structure()


MISPLACED: list[tuple[dict[str, Any], str]] = [
    ({"method": "dense", "pruning_rate": 0.7},
     "pruning_rate: must be left out unless method is signed or zhou or edge_popup or multi_prize, "
     "but got 0.7 with method 'dense'. Remove it."),
    ({"method": "edge_popup", "mask_rule": "target"},
     "mask_rule: must be left out unless method is signed, but got 'target' with method 'edge_popup'. Remove it."),
    ({"schedule": "constant", "decay_epochs": 5},
     "decay_epochs: must be left out unless schedule is exponential, but got 5.0 with schedule 'constant'. Remove it."),
    ({"plateau_patience": 3},
     "plateau_patience: must be left out unless schedule is plateau, but got 3 with schedule 'exponential'. "
     "Remove it."),
    ({"stem_norm": "trained"},
     "stem_norm: must be left out unless network is resnet20 or resnet56 or resnet110, but got 'trained' with "
     "network 'fcn'. Remove it."),
]  # fmt: skip


@pytest.mark.parametrize(("values", "text"), MISPLACED)
def test_a_field_without_its_owner_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**values)
    assert str(caught.value) == f"TrainConfig.{text}"


def test_a_field_without_its_owner_may_keep_its_default() -> None:
    assert TrainConfig(method="dense", pruning_rate=0.5, decay_rate=0.9) == TrainConfig(method="dense")


@pytest.mark.parametrize("method", ["dense", "edge_popup"])
def test_elus_is_elu_where_nothing_is_hidden_or_the_method_makes_up_for_it(method: str) -> None:
    assert TrainConfig(method=method, gain_rule="elus").gain == math.sqrt(0.75)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 3  # type: ignore[misc]


def test_config_loads_without_torch(fresh_process: Callable[[str], str]) -> None:
    heavy = "{'torch', 'numpy', 'jaxtyping', 'sklearn', 'ray', 'mlflow', 'optuna'}"
    assert fresh_process(f"import sys, supermask.config; print(sorted({heavy} & set(sys.modules)))") == "[]"

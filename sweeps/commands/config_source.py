"""Resolves the configuration of a single training: a YAML file of TrainConfig fields, or a network of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search_spaces.document import read
from search_spaces.faults import Faults, check_value, nearest, show
from search_spaces.overrides import parse
from supermask.config import OWNERS, RULES, ConfigError, TrainConfig
from sweeps.analysis import named_network

_RULE = "must be a mapping of TrainConfig fields"
_START = "Write one field a line, e.g. network: fcn."
_SECTIONS = ("search", "fixed", "budget")


@dataclass(frozen=True)
class Source:
    """A resolved configuration.

    Attributes:
        config: The configuration.
        label: What it is, for titles, e.g. `demo, network 12@7`.
        stem: Name of the folder that its results go to unless another is given.
        network: The network's row if it is trained as the sweep did, see `sweeps.networks.with_trials`; None of a file,
            or with changes.
    """

    config: TrainConfig
    label: str
    stem: str
    network: Mapping[str, Any] | None = None


def find(text: str, root: Path, changes: Sequence[str]) -> Source:
    """Resolves the configuration that an argument names.

    Args:
        text: A path to a YAML file, or `NAME:TRIAL@EPOCH`, see `sweeps.analysis.named_network`.
        root: Folder of all sweeps.
        changes: `FIELD=VALUE` each, in place of what is written there.

    Raises:
        SpaceError: If a change cannot be read.
        ConfigError: If the configuration cannot be used.
        SweepError: If there is no such file, sweep or network.
    """
    overrides = parse(changes, key="FIELD", example="epochs=30")
    path = Path(text)
    if path.exists() or text.endswith((".yaml", ".yml")):
        return Source(of_file(path, overrides), path.name, path.stem)
    found = named_network.find(text, root, what="CONFIG", other="a YAML file or ")
    row = found.row
    written = {name: row[name] for name in RULES if row.get(name) is not None}
    # What belonged to the trial's method, schedule or network goes when a change puts another in its place.
    lost = [name for name, (owner, legal) in OWNERS.items() if overrides.get(owner, legal[0]) not in legal]
    kept = {name: value for name, value in written.items() if name not in lost}
    config = _checked(kept | overrides, Faults(text, overridden=overrides))
    changed = " changed" if overrides else ""
    return Source(config, f"{found.title}{changed}", found.stem, None if overrides else row)


def of_file(path: Path, overrides: Mapping[str, Any]) -> TrainConfig:
    """The configuration in a file.

    Args:
        path: A YAML mapping of TrainConfig fields; what it leaves out has its default.
        overrides: Values in place of the file's.

    Raises:
        ConfigError: Naming every fault of the file.
    """
    faults = Faults(str(path), overridden=overrides)
    content = read(path, faults, rule=_RULE, start=_START)
    if content is not None and any(isinstance(content.get(section), dict) for section in _SECTIONS):
        faults.add("", _RULE, got="a search space", remedy=f"Run it: sweeps run {path}.")
        content = None
    if content is None:
        raise ConfigError("\n".join(faults.lines))
    return _checked({**content, **overrides}, faults)


def to_yaml(config: TrainConfig) -> str:
    """The configuration as a file that `of_file` reads back, float by float."""
    return yaml.safe_dump(config.to_dict(), sort_keys=False)


def _checked(values: Mapping[str, Any], faults: Faults) -> TrainConfig:
    for name, value in values.items():
        if name in RULES:
            check_value(faults, name, value, name=name, rule=RULES[name])
        else:
            # `fixed.epochs` is how a sweep's option --set names the field.
            remedy = nearest(name.rpartition(".")[2], RULES)
            faults.add(name, "must be a field of TrainConfig", got=show(name), remedy=remedy)
    if faults.lines:
        raise ConfigError("\n".join(faults.lines))
    return TrainConfig.from_dict(values)

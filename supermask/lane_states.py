"""Trained lanes on their way from one pack to another: a lane's state is the state of a pack of that lane alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from supermask.config import ConfigError
from supermask.pack import Pack

State = dict[str, Any]
TOGETHER = 8
"""Lanes whose states are taken from a pack at once: each copy from a GPU costs, and all together much memory."""


def each(pack: Pack) -> Iterator[tuple[int, State]]:
    """The state of every lane in training, with its place in the pack; see `split`."""
    lanes = list(pack.lanes)
    for first in range(0, len(lanes), TOGETHER):
        yield from split(pack.state_dict(lanes[first : first + TOGETHER])).items()


def split(state: State) -> dict[int, State]:
    """Takes the state of a pack apart.

    Args:
        state: Of `Pack.state_dict`.

    Returns:
        A state per lane in training, by its place in the pack, on the CPU; of copies, so that one lane alone can be
        kept without the others' memory.
    """
    states: dict[int, State] = {}
    of_all = {name: value.cpu() for name, value in state.items() if isinstance(value, Tensor)}
    for place, lane in enumerate(state["lanes"]):
        tensors = {name: value[place : place + 1].clone() for name, value in of_all.items()}
        states[lane] = {"epoch": state["epoch"], "lanes": [0], "plateaus": [state["plateaus"][place]], **tensors}
    return states


def join(states: Sequence[State]) -> State:
    """Puts lanes together to the state of a pack.

    Args:
        states: Of `split`, in the order of the new pack's configurations; they may come from different packs.

    Returns:
        What `Pack.load_state_dict` takes.

    Raises:
        ConfigError: If there are none, or they are of different epochs or structures.
    """
    first = states[0] if states else {}
    for state in states or [{}]:
        if state.get("epoch") != first.get("epoch") or state.keys() != first.keys() or not state:
            raise ConfigError(
                f"lane states: must be of one epoch and structure, but got epochs {[s.get('epoch') for s in states]}. "
                "Join lanes that have come equally far."
            )
    names = [name for name, value in first.items() if isinstance(value, Tensor)]
    tensors = {name: torch.cat([state[name] for state in states]) for name in names}
    plateaus = [plateau for state in states for plateau in state["plateaus"]]
    return {"epoch": first["epoch"], "lanes": list(range(len(states))), "plateaus": plateaus, **tensors}


def to_arrays(state: State) -> dict[str, np.ndarray]:
    """The tensors of a lane's state as arrays; `epoch` and `plateaus` are plain values."""
    return {name: value.numpy() for name, value in state.items() if isinstance(value, Tensor)}


def from_arrays(epoch: int, plateaus: list[Any], arrays: Mapping[str, np.ndarray]) -> State:
    """The state of a lane out of its parts; of copies, for arrays from elsewhere may be read-only."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    return {"epoch": epoch, "lanes": [0], "plateaus": plateaus, **tensors}

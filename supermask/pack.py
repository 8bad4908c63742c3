"""K trials trained together as one program."""

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int8, Shaped
from torch import Tensor

from supermask import layers, methods, optim
from supermask.config import ConfigError, TrainConfig, check_lanes
from supermask.data import Dataset, augment, batches, crops_and_flips, split, standardise
from supermask.metrics import EpochMetrics, Evaluation, fractions_of_layers
from supermask.models import network_of
from supermask.norms import NormState
from supermask.program import default_dtype, program
from supermask.state import LayerState

REFRESH_STEPS = 16
"""Steps between two refreshes of the thresholds under the mask rule `target`."""
EVALUATION_BATCH = 250
"""Images per evaluation batch: all lanes' activations of two layers must fit where those of a training step do."""

Part = Literal["train", "validation", "test"]


class Pack:
    """K lanes of one structure, trained together.

    A lane's result depends on its own configuration only: it draws weights and scores from its own
    seed, sees the batches that `data_seed` prescribes, and shares no number with its neighbours.

    Attributes:
        configs: The configuration of every lane the pack was built with.
        lanes: Places in `configs` of the lanes still in training, in order.
        epoch: Epochs finished.
        batches_done: Batches trained on or evaluated so far: it shows that work goes on.
        network: The network all lanes train.
        device: Where the tensors live.
        dtype: Of the matrix products: float64, float32 or bfloat16.
    """

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        data: Dataset,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        compiled: bool = False,
        slots: int | None = None,
    ) -> None:
        """Draws weights and scores of every lane.

        Args:
            configs: One per lane; equal in all structural fields.
            data: The dataset that the configurations name.
            device: Where to train.
            dtype: Of the matrix products; by default what `default_dtype` says for the device. Scores and
                momentum are float32 (float64 with float64).
            compiled: Whether to compile the program with torch.compile: worth its 10 to 40 s in long runs.
            slots: Most lanes of packs that share compiled programs; these are made for so many lanes, half as many, a
                quarter and so on, and smaller packs fill theirs up. None takes the number of configurations.

        Raises:
            ConfigError: If the configurations differ in structure or do not fit the dataset.
        """
        self.configs = tuple(configs)
        check_lanes(self.configs, data.name)
        shared = self.configs[0]
        self.device = torch.device(device)
        self.dtype = dtype or default_dtype(self.device)
        self.network = network_of(shared, input_shape=data.input_shape, classes=data.classes)
        train, validation = split(data, shared)
        if self.device.type == "cuda":
            # Partial sums in bfloat16 would make a lane's numbers depend on how its pack's products are split.
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        self._data = data.to(self.device)
        self._train, self._validation = train.to(self.device), validation.to(self.device)
        self._compiled, self._most_slots = compiled, max(slots or 0, len(self.configs))
        self._program = program(self.network, compiled=compiled)
        self.batches_done = 0
        self._start(range(len(self.configs)))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training part."""
        return len(self._train) // self.configs[0].batch_size

    @property
    def validation_images(self) -> int:
        """Number of images in the validation part."""
        return len(self._validation)

    def train_epoch(self) -> list[EpochMetrics]:
        """Trains every lane for one epoch and evaluates it on the validation part.

        Returns:
            One entry per lane still in training, in the order of `lanes`.
        """
        if not self.lanes:
            return []
        started = time.perf_counter()
        train_losses = self._of_lanes(self.train_steps())
        self.epoch += 1
        for lane, loss in zip(self.lanes, train_losses, strict=True):
            self._plateaus[lane].note(loss, self.configs[lane])
        found = self.evaluate("validation")
        counts = self._mask_counts()
        remaining, inverted = self._fractions(counts)
        of_layers = fractions_of_layers(self.network.layers, counts)
        seconds = (time.perf_counter() - started) / len(self.lanes)
        return [
            EpochMetrics(
                lane=lane,
                epoch=self.epoch,
                train_loss=train_losses[k],
                val_loss=found[k].loss,
                val_accuracy=found[k].accuracy,
                remaining=remaining[k],
                inverted=inverted[k],
                seconds=seconds,
                layers=of_layers[k],
            )
            for k, lane in enumerate(self.lanes)
        ]

    def complete(self) -> list[int]:
        """The lanes in training that are through: all epochs done, or their plateau schedule at its end."""
        done = self.epoch >= self.configs[0].epochs
        return [lane for lane in self.lanes if done or self._plateaus[lane].is_over(self.configs[lane])]

    def evaluate(self, part: Part) -> list[Evaluation]:
        """Loss and accuracy of every lane on one part of the data.

        Args:
            part: `train` and `validation` are the two parts of the training set; `test` is for the final record.
        """
        if not self.lanes:
            return []
        images, labels = self._data.train_images, self._data.train_labels
        chosen = self._train if part == "train" else self._validation
        if part == "test":
            images, labels = self._data.test_images, self._data.test_labels
            chosen = torch.arange(len(labels), device=self.device)
        loss = torch.zeros(len(self._slots), dtype=torch.float64, device=self.device)
        hits = torch.zeros_like(loss)
        size = min(EVALUATION_BATCH, len(chosen))
        weights, scales = [state.final() for state in self._states], [state.scale for state in self._states]
        for indices in chosen.split(size):
            # The last batch is filled up with uncounted images: all batches have one shape, compiled once.
            filled = torch.nn.functional.pad(indices, (0, size - len(indices)))
            counted = torch.arange(size, device=self.device) < len(indices)
            batch = standardise(images[filled], self.dtype)
            batch_loss, batch_hits = self._program.evaluate(
                weights, scales, self._norms, batch, torch.where(counted, labels[filled], -1)
            )
            self.batches_done += 1
            loss += batch_loss
            hits += batch_hits
        losses, accuracies = self._of_lanes(loss / len(chosen)), self._of_lanes(hits / len(chosen))
        return [Evaluation(lane, losses[k], accuracies[k]) for k, lane in enumerate(self.lanes)]

    def drop(self, lanes: Iterable[int]) -> None:
        """Takes lanes out of training; the others go on unchanged.

        A compiled program is made for one number of slots, so its dropped lanes are carried along until half of the
        slots are free; an eager pack shrinks at once.

        Args:
            lanes: Places in `configs`.

        Raises:
            ConfigError: If a lane is not in training.
        """
        gone = set(lanes)
        for lane in gone:
            self._position(lane)
        if not gone:
            return
        self.lanes = [lane for lane in self.lanes if lane not in gone]
        slots = self._filled(self.lanes)
        if self._compiled and len(slots) == len(self._slots):
            return
        kept = torch.tensor([self._position(lane) for lane in slots], dtype=torch.int64, device=self.device)
        for state in (*self._states, *self._norms):
            state.select(kept)
        self._slots = slots

    def mask(self, lane: int) -> dict[str, Int8[Tensor, "..."]]:
        """The mask of one lane by layer name, entries -1, 0 and +1, on the CPU.

        Args:
            lane: Place in `configs`.

        Raises:
            ConfigError: If the lane is not in training.
        """
        position = self._position(lane)
        named = zip(self.network.layers, self._states, strict=True)
        return {layer.name: state.mask(position).cpu() for layer, state in named}

    def values(self, lane: int) -> dict[str, Float[Tensor, "..."]]:
        """What a trained lane is besides seed and mask, in float32 on the CPU; see `supermask.artifact` for the names.

        Args:
            lane: Place in `configs`.

        Raises:
            ConfigError: If the lane is not in training.
        """
        position, found = self._position(lane), dict[str, Tensor]()
        named = (*self.network.layers, *self.network.norms)
        for step, state in zip(named, (*self._states, *self._norms), strict=True):
            found |= {f"{step.name}.{part}": values for part, values in state.values(position).items()}
        # A copy: a view of the pack's tensor would move on with the training.
        return {name: values.detach().to("cpu", torch.float32, copy=True) for name, values in found.items()}

    def fractions(self) -> tuple[list[float], list[float]]:
        """Remaining and inverted fraction of the weights of each lane in training, over all layers."""
        return self._fractions(self._mask_counts())

    def _fractions(self, counts: Shaped[Tensor, "layer 2 lane"]) -> tuple[list[float], list[float]]:
        remaining, inverted = (counts.sum(dim=0).double() / self.network.parameters).tolist()
        return remaining, inverted

    def _mask_counts(self) -> Shaped[Tensor, "layer 2 lane"]:
        """Numbers of weights that remain and that are inverted, of the lanes in training: one copy to the CPU."""
        counts = torch.stack([torch.stack(state.counts()) for state in self._states]).cpu()
        return counts[:, :, self._positions()]

    def state_dict(self, lanes: Iterable[int] | None = None) -> dict[str, Any]:
        """All that training has changed: tensors, lanes and epoch. Frozen weights are drawn again from the seed.

        Args:
            lanes: Places in `configs`, in order; None takes all lanes in training.
        """
        lanes = list(self.lanes if lanes is None else lanes)
        plateaus = [dataclasses.astuple(self._plateaus[lane]) for lane in lanes]
        state: dict[str, Any] = {"epoch": self.epoch, "lanes": lanes, "plateaus": plateaus}
        positions = [self._position(lane) for lane in lanes]
        for layer, own in zip(self.network.layers, self._states, strict=True):
            state |= own.trained(layer.name, positions)
        for norm, values in zip(self.network.norms, self._norms, strict=True):
            state |= values.saved(norm.name, positions)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a `state_dict` of a pack with the same configurations.

        Raises:
            ConfigError: If the state does not fit this pack.
        """
        lanes, epoch = state.get("lanes"), state.get("epoch")
        in_order = [place for place in range(len(self.configs)) if isinstance(lanes, list) and place in lanes]
        if not in_order or lanes != in_order or not isinstance(epoch, int):
            raise ConfigError(
                f"pack state: must hold an epoch and lanes out of {len(self.configs)}, but got epoch {epoch!r} and "
                f"lanes {lanes!r}. Load it into a pack built from the same configurations."
            )
        if self._filled(in_order) == self._slots:
            self.lanes = in_order  # what is frozen is there already, the rest follows
        else:
            self._start(in_order)
        rows = torch.tensor([in_order.index(lane) for lane in self._slots])
        of_slots = {
            # A tensor of another number of lanes is left as it is, to be refused.
            name: value[rows] if isinstance(value, Tensor) and len(value) == len(in_order) else value
            for name, value in state.items()
        }
        for layer, own in zip(self.network.layers, self._states, strict=True):
            own.restore(layer.name, of_slots)
        for norm, values in zip(self.network.norms, self._norms, strict=True):
            values.restore(norm.name, of_slots)
        self._plateaus = {lane: optim.Plateau() for lane in self.lanes}
        for lane, plateau in zip(self.lanes, state.get("plateaus", []), strict=False):
            self._plateaus[lane] = optim.Plateau(*plateau)
        self.epoch = epoch

    def _start(self, lanes: Iterable[int]) -> None:
        """Draws the given lanes as they are before the first epoch."""
        self.lanes, self.epoch = list(lanes), 0
        self._slots = self._filled(self.lanes)  # what the tensors hold; dropped lanes may linger in it
        configs = [self.configs[lane] for lane in self._slots]
        self._wide = layers.accumulation_dtype(self.dtype)
        self._states = [
            LayerState.draw(configs, layer, index, device=self.device, dtype=self.dtype, wide=self._wide)
            for index, layer in enumerate(self.network.layers)
        ]
        self._norms = [
            NormState.start(norm, len(configs), device=self.device, wide=self._wide) for norm in self.network.norms
        ]
        self._plateaus = {lane: optim.Plateau() for lane in self.lanes}

    def _filled(self, lanes: list[int]) -> list[int]:
        """Lanes for all slots of a program; spare ones of a compiled one train the first lane again, unseen."""
        if not self._compiled or not lanes:
            return lanes
        slots = self._most_slots
        while slots > 1 and -(-slots // 2) >= len(lanes):
            slots = -(-slots // 2)
        return lanes + lanes[:1] * (slots - len(lanes))

    def train_steps(self) -> Tensor:
        """One epoch of updates; returns the mean loss of each lane, NaN for a lane that has diverged."""
        shared = self.configs[0]
        order = batches(self._train, shared, self.epoch)
        configs = [self.configs[lane] for lane in self._slots]
        keys = methods.step_keys(configs, epoch=self.epoch, steps=1 + len(order), device=self.device)
        rates = optim.rates(
            configs,
            epoch=self.epoch,
            reductions=[self._plateaus[lane].reductions for lane in self._slots],
            keys=keys[1:],
            dtype=self._wide,
        )
        moves = crops_and_flips(shared, self.epoch, len(order))
        moves = moves.to(self.device) if moves is not None else [None] * len(order)
        total = torch.zeros(len(self._slots), dtype=torch.float64, device=self.device)
        if shared.method == "zhou":
            for index, state in enumerate(self._states):
                state.apply_mask(methods.layer_keys(keys[0], index))
        for step, (indices, rate, move) in enumerate(zip(order, rates, moves, strict=True)):
            images = augment(self._data.train_images[indices], move)
            labels = self._data.train_labels[indices]
            total += self._program.step(self._states, self._norms, images, labels, rate)
            self.batches_done += 1
            if methods.holds_rate(shared) and (step + 1 == len(order) or step % REFRESH_STEPS == 0):
                for state in self._states:
                    state.retarget(shared, [config.pruning_rate for config in configs])
        # A score that overflowed hides its weight, and the loss looks harmless again: say that the lane is lost.
        sound = torch.stack([state.sound() for state in self._states]).all(dim=0)
        return torch.where(sound, total / len(order), math.nan)

    def _of_lanes(self, values: Tensor) -> list[Any]:
        """Numbers of the slots as a list of those of the lanes in training."""
        found = values.tolist()
        return [found[position] for position in self._positions()]

    def _positions(self) -> list[int]:
        """The slots of the lanes in training, in order; spare slots repeat a lane and come last."""
        first = {lane: position for position, lane in reversed(list(enumerate(self._slots)))}
        return [first[lane] for lane in self.lanes]

    def _position(self, lane: int) -> int:
        if lane not in self.lanes:
            raise ConfigError(f"pack: a lane must be in training, but got {lane}. In training: {self.lanes or 'none'}.")
        return self._slots.index(lane)

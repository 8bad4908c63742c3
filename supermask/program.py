"""The program of a pack: one training step and one evaluation batch, eager or compiled."""

import functools
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from supermask import layers
from supermask.config import TrainConfig
from supermask.data import Dataset, standardise
from supermask.layers import LaneNorm
from supermask.models import network_of
from supermask.network import Network
from supermask.norms import NormState
from supermask.optim import Rates
from supermask.state import LayerState

_log = logging.getLogger(__name__)


RECOMPILE_LIMIT = 256
"""Programs kept by a process: one for each number of lanes and shape of a layer; torch's own limit is 8."""


@functools.cache
def program(network: Network, *, compiled: bool) -> "Program":
    """The program of a network, one per process, so that a later pack of equal shapes compiles nothing.

    Args:
        network: What the lanes train.
        compiled: Whether to fuse it with torch.compile. The first step then takes 10 to 40 s.
    """
    return Program(network, compiled=compiled)


class Program:
    """Runs steps over the states of all lanes; the whole step, gradients and update included, is one fused program."""

    def __init__(self, network: Network, *, compiled: bool) -> None:
        """Prepares the program; see `program`."""
        self._network = network
        self._counts = _maybe_compiled(self._counts_eager, compiled)
        self._step = _maybe_compiled(self._step_eager, compiled)

    def step(
        self,
        states: Sequence[LayerState],
        norms: Sequence[NormState],
        images: UInt8[Tensor, "batch channel height width"],
        labels: Int64[Tensor, " batch"],
        rates: Rates,
    ) -> Float[Tensor, " lane"]:
        """One update of all scores, in place.

        Returns:
            The loss of each lane before the update, mean over the batch.
        """
        with torch.no_grad():
            return self._step(states, norms, images, labels, rates)

    def evaluate(
        self,
        weights: list[Tensor],
        scales: list[Tensor],
        norms: Sequence[NormState],
        images: Float[Tensor, "batch channel height width"],
        labels: Tensor,
    ) -> tuple[Float[Tensor, " lane"], Int64[Tensor, " lane"]]:
        """Sum of the losses and number of hits of each lane over a batch.

        Args:
            weights: Effective weights of each layer in units of its scale.
            scales: Scale of each layer.
            norms: All batch norms.
            images: Standardised images.
            labels: Their classes; a negative one marks an image that only fills the batch up and is not counted.
        """
        with torch.no_grad():
            return self._counts(weights, scales, [norm.lanes() for norm in norms], images, labels)

    def _step_eager(
        self, states: Sequence[LayerState], norms: Sequence[NormState], images: Tensor, labels: Tensor, rates: Rates
    ) -> Float[Tensor, " lane"]:
        scales = [state.scale for state in states]
        standardised = standardise(images, states[0].masked.dtype)

        def total(masked: list[Tensor], trained: list[tuple[Tensor, ...]], running: list[tuple[Tensor, Tensor]]):
            lanes = [LaneNorm(*pair, *own) for pair, own in zip(running, trained, strict=True)]
            outputs = layers.logits(self._network, masked, scales, standardised, norms=lanes, training=True)
            losses = layers.losses(outputs, labels).mean(dim=1)
            # Lanes share no weight, so the gradient of the sum is every lane's own gradient.
            return losses.sum(), losses

        gradients, losses = torch.func.grad(total, argnums=(0, 1), has_aux=True)(
            [state.masked for state in states],
            [norm.affine for norm in norms],
            [(norm.mean, norm.variance) for norm in norms],
        )
        for index, (state, gradient) in enumerate(zip(states, gradients[0], strict=True)):
            state.update(gradient, rates, index)
        for norm, own in zip(norms, gradients[1], strict=True):
            norm.update(own, rates)
        return losses

    def _counts_eager(
        self, masked: list[Tensor], scales: list[Tensor], norms: list[LaneNorm], images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        counted = labels >= 0
        outputs = layers.logits(self._network, masked, scales, images, norms=norms)
        loss = torch.where(counted, layers.losses(outputs, labels.clamp_min(0)), 0.0)
        return loss.sum(dim=1), ((outputs.argmax(dim=2) == labels) & counted).sum(dim=1)


def _maybe_compiled(function: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
    if not compiled:
        return function
    from torch._dynamo import config as dynamo  # takes 2 s

    # Each layer shape and number of lanes is a program of its own; past Dynamo's limit (8) the rest would run eagerly.
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = RECOMPILE_LIMIT
    # A graph that breaks would run eagerly in parts, slowly and without a word.
    return torch.compile(function, dynamic=False, fullgraph=True)


COMPILE_PAYS = 1e9
"""Weights times steps of one lane above which compiling is worth its 10 to 40 s."""


def compile_pays(config: TrainConfig, data: Dataset, device: torch.device) -> bool:
    """Whether `device` can compile, and such trials train long enough; see `earns_compiling`."""
    return earns_compiling(config, data) and compiler_present(device)


def earns_compiling(config: TrainConfig, data: Dataset) -> bool:
    """Whether a pack of such trials trains long enough to earn the time of compiling back.

    The answer depends on the structure alone, not on the number of lanes: compiled and eager arithmetic
    round differently, and a trial's result must not depend on its company.
    """
    network = network_of(config, input_shape=data.input_shape, classes=data.classes)
    images = len(data.train_labels) * (1 - config.validation_fraction)
    steps = config.epochs * images / config.batch_size
    return steps * network.parameters > COMPILE_PAYS


@functools.cache
def compiler_present(device: torch.device) -> bool:
    """Whether torch.compile can work here; says so once where it cannot."""
    if cpp_compiler():
        return True
    _log.warning("torch.compile on %s: no C++ compiler found; training eagerly, slower. Install g++.", device.type)
    return False


def cpp_compiler() -> str | None:
    """The C++ compiler that torch.compile needs: that in the environment variable CXX, else one on the path."""
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next(filter(None, (shutil.which(name) for name in names if name)), None)


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it in hardware (CUDA from 8.0, AMX, AVX-512 BF16), else float32."""
    if device.type == "cuda":
        here = torch.cuda.is_available()  # if not, a cluster's GPUs are meant
        return torch.float32 if here and not torch.cuda.is_bf16_supported(including_emulation=False) else torch.bfloat16
    capable = torch.cpu.get_capabilities()
    return torch.bfloat16 if capable.get("amx_bf16") or capable.get("avx512_bf16") else torch.float32

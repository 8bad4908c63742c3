"""What a user would write instead of a pack: one eager float32 model, a DataLoader, or torch.func.vmap.

They train what `supermask.pack` trains: weights and scores from the same seeds, the mask rule
`threshold`, Nesterov momentum with decoupled decay and a constant schedule.
"""

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import VisionDataset

from supermask.config import TrainConfig
from supermask.data import Dataset, batches, split, standardise
from supermask.initialisers import initial_scores, unit_weights, weight_scale
from supermask.models import network_of
from supermask.network import Elu, MaskedLayer, Pool
from supermask.pack import EVALUATION_BATCH


class Mask(torch.autograd.Function):
    """W * M(S); the gradient goes straight through to the scores: dL/dS = dL/d(W * M) * W."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, weights: Tensor, threshold: Tensor) -> Tensor:
        """Keeps, hides or inverts each weight."""
        return torch.where(scores.abs() > threshold, scores.sign(), 0.0) * weights

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004 - PyTorch's signature
        """Keeps the frozen weights."""
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Straight-through estimator."""
        (weights,) = ctx.saved_tensors
        return gradients[0] * weights, None, None


class Masked(nn.Module):
    """A fully connected layer or a 3x3 convolution whose weights are frozen and masked."""

    weights: Tensor
    threshold: Tensor

    def __init__(self, config: TrainConfig, layer: MaskedLayer, index: int, *, dtype: torch.dtype) -> None:
        """Draws weights and scores."""
        super().__init__()
        scores = initial_scores(config, layer, index).to(dtype)
        self.scores = nn.Parameter(scores)
        self.register_buffer("weights", unit_weights(config, layer, index).to(dtype) * weight_scale(config, layer))
        self.register_buffer("threshold", scores.abs().max() * config.pruning_rate)

    def forward(self, values: Tensor) -> Tensor:
        """Applies the layer."""
        weight: Any = Mask.apply(self.scores, self.weights, self.threshold)
        if weight.ndim == 4:
            return functional.conv2d(values, weight, padding=1)
        return functional.linear(values.flatten(1), weight)


def masked_network(config: TrainConfig, dataset: Dataset, *, dtype: torch.dtype) -> nn.Sequential:
    """The network that a configuration names, as PyTorch modules."""
    network = network_of(config, input_shape=dataset.input_shape, classes=dataset.classes)
    modules: list[nn.Module] = []
    for step in network.steps:
        match step:
            case Pool():
                modules.append(nn.MaxPool2d(2))
            case Elu():
                modules.append(nn.ELU())
            case MaskedLayer():
                index = sum(isinstance(module, Masked) for module in modules)
                modules.append(Masked(config, step, index, dtype=dtype))
            case _:
                raise NotImplementedError(f"{config.network}: the peers have no {type(step).__name__}")
    return nn.Sequential(*modules)


class Sgdw:
    """SGD with Nesterov momentum and weight decay that is not multiplied by the learning rate."""

    def __init__(self, parameters: Iterable[nn.Parameter], config: TrainConfig) -> None:
        """Takes the hyperparameters of one trial."""
        self.parameters = list(parameters)
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.config, self.factor = config, 1.0

    def start_epoch(self, epoch: int) -> None:
        """Lets rate and decay fall by the exponential schedule, a step at each epoch (from 0)."""
        self.factor = self.config.decay_rate ** (epoch / self.config.decay_epochs)

    @torch.no_grad()
    def step(self) -> None:
        """One update; frees the gradients."""
        rate, decay = (self.factor * value for value in (self.config.learning_rate, self.config.weight_decay))
        momentum = self.config.momentum
        for parameter, velocity in zip(self.parameters, self.velocities, strict=True):
            gradient = parameter.grad
            assert gradient is not None  # noqa: S101 - every parameter takes part
            parameter.mul_(1 - decay)
            velocity.mul_(momentum).sub_(gradient, alpha=rate)
            parameter.add_(velocity, alpha=momentum).sub_(gradient, alpha=rate)
            parameter.grad = None


def train(model: nn.Module, optimiser: Sgdw, batched: Iterable[Sequence[Tensor]], *, device: torch.device) -> float:
    """The loop of every tutorial; returns the mean loss, and so waits for the device."""
    total, count = torch.zeros((), device=device), 0
    for images, labels in batched:
        loss = functional.cross_entropy(
            model(images.to(device, non_blocking=True)), labels.to(device, non_blocking=True)
        )
        loss.backward()
        optimiser.step()
        total += loss.detach()
        count += 1
    return (total / count).item()


@torch.no_grad()
def measure(model: nn.Module, batched: Iterable[Sequence[Tensor]], *, device: torch.device) -> tuple[float, float]:
    """Loss and accuracy."""
    loss, hits, count = torch.zeros((), device=device), torch.zeros((), device=device), 0
    for images, expected in batched:
        labels = expected.to(device, non_blocking=True)
        outputs = model(images.to(device, non_blocking=True))
        loss += functional.cross_entropy(outputs, labels, reduction="sum")
        hits += (outputs.argmax(dim=1) == labels).sum()
        count += len(labels)
    return (loss / count).item(), (hits / count).item()


class PlainLoop:
    """One model; batches are slices of a standardised tensor on the device."""

    def __init__(
        self, config: TrainConfig, dataset: Dataset, *, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        """Draws the model and standardises all images."""
        self.lanes, self.device, self.dtype = 1, device, dtype
        self.dataset = dataset
        self.images = standardise(dataset.train_images, dtype).to(device)
        self.labels = dataset.train_labels.to(device)
        self.restart(config)

    def restart(self, config: TrainConfig) -> None:
        """Draws another model; the images stay."""
        self.config, self.epochs = config, 0
        self.model = masked_network(config, self.dataset, dtype=self.dtype).to(self.device)
        self.optimiser = Sgdw(self.model.parameters(), config)
        self.train_part, self.validation_part = (part.to(self.device) for part in split(self.dataset, config))

    def steps(self) -> float:
        """Trains on the whole training part once, without validation."""
        order = batches(self.train_part.cpu(), self.config, self.epochs).to(self.device)
        self.epochs += 1
        sliced = ((self.images[indices], self.labels[indices]) for indices in order)
        return train(self.model, self.optimiser, sliced, device=self.device)

    def validate(self) -> tuple[float, float]:
        """Loss and accuracy on the validation part."""
        parts = self.validation_part.split(EVALUATION_BATCH)
        return measure(self.model, ((self.images[part], self.labels[part]) for part in parts), device=self.device)

    def epoch(self) -> None:
        """Trains and validates."""
        self.steps()
        self.validate()

    def close(self) -> None:
        """Nothing to end."""


def plain(configs: Sequence[TrainConfig], dataset: Dataset) -> PlainLoop:
    """A `PlainLoop` on the CPU, for `benchmarks.processes.Processes`."""
    return PlainLoop(configs[0], dataset, device=torch.device("cpu"))


class Images(VisionDataset):  # pyright: ignore[reportMissingTypeArgument] - not subscriptable at run time
    """Gives a PIL image and its class, word for word as torchvision's MNIST and CIFAR10 do, from the same arrays."""

    def __init__(self, dataset: Dataset) -> None:
        """Keeps the training set as NumPy arrays, channels last."""
        super().__init__(root="", transform=transforms.Compose([transforms.ToTensor(), standardised]))
        self.data = np.ascontiguousarray(dataset.train_images.permute(0, 2, 3, 1).numpy())
        self.targets = dataset.train_labels.tolist()

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.data[index]
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        assert self.transform is not None  # noqa: S101 - given above
        return self.transform(image), self.targets[index]

    def __len__(self) -> int:
        return len(self.data)


def standardised(image: Tensor) -> Tensor:
    """A transform: the image, 0 to 1, minus its mean, over its standard deviation."""
    return (image - image.mean()) / image.std(correction=0).clamp_min(1 / (255 * math.sqrt(image.numel())))


class DataLoaderLoop:
    """One model; images come one by one through torchvision's transforms and a DataLoader."""

    def __init__(self, config: TrainConfig, dataset: Dataset, *, device: torch.device, workers: int) -> None:
        """Starts no worker yet; they stay from the first epoch on."""
        self.lanes, self.device, self.workers = 1, device, workers
        self.model = masked_network(config, dataset, dtype=torch.float32).to(device)
        self.optimiser = Sgdw(self.model.parameters(), config)
        self.loader = DataLoader(
            Subset(Images(dataset), split(dataset, config)[0].tolist()),
            batch_size=config.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )

    def steps(self) -> float:
        """Trains on the whole training part once, without validation."""
        return train(self.model, self.optimiser, self.loader, device=self.device)

    def close(self) -> None:
        """Ends the workers, which live as long as the loader."""
        del self.loader


class VmapLoop:
    """K models stacked by torch.func; batches are slices of a standardised tensor on the device."""

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        dataset: Dataset,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Draws and stacks the models."""
        self.lanes, self.config, self.device = len(configs), configs[0], device
        models = [masked_network(config, dataset, dtype=dtype) for config in configs]
        skeleton = copy.deepcopy(models[0]).to("meta")
        stacked, frozen = stack_module_state(models)  # pyright: ignore[reportArgumentType] - Sequential is a Module
        self.scores = {name: scores.detach().to(device) for name, scores in stacked.items()}
        self._frozen = {name: values.to(device) for name, values in frozen.items()}
        self._velocities = {name: torch.zeros_like(scores) for name, scores in self.scores.items()}
        names = ("learning_rate", "weight_decay", "momentum")
        self._rates = [
            torch.tensor([getattr(config, name) for config in configs], dtype=dtype, device=device) for name in names
        ]
        self.images = standardise(dataset.train_images, dtype).to(device)
        self.labels = dataset.train_labels.to(device)
        self.train_part = split(dataset, configs[0])[0]

        def loss(scores: dict[str, Tensor], frozen: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            return functional.cross_entropy(functional_call(skeleton, (scores, frozen), (images,)), labels)

        self._gradients = vmap(grad_and_value(loss), in_dims=(0, 0, None, None))

    def steps(self) -> list[float]:
        """Trains every model on the whole training part once; returns the mean losses."""
        total, order = torch.zeros(self.lanes, device=self.device), batches(self.train_part, self.config, 0)
        for indices in order.to(self.device):
            gradients, losses = self._gradients(self.scores, self._frozen, self.images[indices], self.labels[indices])
            for name, gradient in gradients.items():
                self._update(self.scores[name], self._velocities[name], gradient)
            total += losses
        return (total / len(order)).tolist()

    def close(self) -> None:
        """Nothing to end."""

    def _update(self, scores: Tensor, velocity: Tensor, gradient: Tensor) -> None:
        rate, decay, momentum = (values.view(-1, *[1] * (scores.ndim - 1)) for values in self._rates)
        step = rate * gradient
        velocity.mul_(momentum).sub_(step)
        scores.mul_(1 - decay).add_(momentum * velocity).sub_(step)

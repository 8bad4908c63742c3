"""Where a pack trains: on what it was given, and on nothing else."""

import socket

import torch


def device_of(gpus: float) -> torch.device:
    """The device of a pack.

    Args:
        gpus: GPUs that it was given, or its share of one; 0 for none.

    Raises:
        RuntimeError: If it was given a GPU that PyTorch cannot use. On the CPU it would be trained a hundred times as
            long beside a GPU that is idle, and nobody would hear of it.
    """
    if not gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"{socket.gethostname()}: a pack that was given {gpus:g} GPU must train there, but PyTorch "
            f"{torch.__version__} finds none that it can use. Update the driver, install a PyTorch that fits it, or "
            "train on the CPU: --gpus-per-pack 0."
        )
    return torch.device("cuda")

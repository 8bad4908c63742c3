"""What an error says of the device: that its memory ran out, or that this process cannot use it any more."""

import torch

_ALLOCATORS = (
    "out of memory",
    "DefaultCPUAllocator",
    "can't allocate memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # what cuBLAS says where its own workspace finds no room
    "unable to find an engine",  # what remains of cuDNN's errors when no plan for a convolution finds room
)
"""What the errors of allocators say that have no exception class of their own."""


def ran_out(error: Exception) -> bool:
    """Whether an error says that the device or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _ALLOCATORS)


def is_lost() -> bool:
    """Whether the GPU is of no more use to this process: after some errors every further call fails.

    Waits for what the GPU is at.
    """
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False

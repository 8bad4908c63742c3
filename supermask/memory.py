"""Whether memory ran out."""

import torch

_ALLOCATORS = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What the errors of allocators say that have no exception class of their own."""


def ran_out(error: Exception) -> bool:
    """Whether an error says that the device or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _ALLOCATORS)

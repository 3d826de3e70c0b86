"""The most memory that was taken."""

import sys

import torch


def peak_bytes(device: torch.device) -> int:
    """The peak of this process in bytes, or on a CUDA device that of its tensors; 0 where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # not on Windows
        return 0
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

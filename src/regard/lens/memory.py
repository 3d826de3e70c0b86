"""What to do when memory runs out: smaller blocks, one more try, then a sentence that says what would fit."""

from collections.abc import Callable
from typing import TypeVar

import torch

from ..core import blockwise

T = TypeVar("T")
SHRINK = 8


def with_one_retry(work: Callable[[], T], advice: str) -> T:
    """Run work; if memory runs out, once more with smaller blocks.

    Raises MemoryError with the advice if that does not help.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
    before = blockwise.BLOCK_ELEMENTS
    blockwise.BLOCK_ELEMENTS = max(1, before // SHRINK)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise MemoryError(f"out of memory, also with blocks of {blockwise.BLOCK_ELEMENTS} weights: {advice}") from error
    finally:
        blockwise.BLOCK_ELEMENTS = before


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text

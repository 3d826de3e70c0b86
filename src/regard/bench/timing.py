"""Interleaved timing: every round runs each arm once, so that what disturbs the machine disturbs all of them.

Not alike, though: where other processes want the same cores, every parallel operator waits for its slowest thread, and
an arm of many small operators loses far more than one large kernel. So preemptions are counted.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from .arms import Arm

WARM_UP = 2
BUSY = 50.0
"""Preemptions per second from which a machine counts as busy: another process on one core causes some 250, none a few."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleaved(
    arms: Sequence[Arm], runs: int, device: torch.device, seed: int, progress: Callable[[], None]
) -> list[list[float]]:
    """Return the seconds of each arm in each of `runs` rounds, after warm-up; the order in a round is random.

    `progress` is told of each round.
    """
    order, chance = list(range(len(arms))), random.Random(seed)
    seconds: list[list[float]] = [[] for _ in arms]
    for turn in range(WARM_UP + runs):
        chance.shuffle(order)
        for index in order:
            _wait(device)
            begun = time.perf_counter()
            arms[index].run()
            _wait(device)
            if turn >= WARM_UP:
                seconds[index].append(time.perf_counter() - begun)
        progress()
    return seconds


def preemptions() -> int | None:
    """Return how often the system has taken a core away from this process so far; None where it does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)

"""Work in parts that do not depend on each other, as tasks on a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

PASSED_ON = ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_OFFLINE")
"""What workers are told of the environment: where the cache is, and whether there is a hub."""


def spread(
    function: Callable[[Item], Found], items: Sequence[Item], *, gpus: float = 0
) -> Iterator[tuple[int, Found | Exception]]:
    """Yield the index of each item and what the function found for it, or the exception that ended it, as they are done.

    Each item is a task of one CPU and so many GPUs. The cache has to be a folder that all machines see (`XDG_CACHE_HOME`). What
    `ray.init` made is used, else the cluster that `RAY_ADDRESS` names, else this machine. A task that fails leaves the others
    running. Raises ImportError where ray is missing, and ValueError for a cluster without the GPUs.
    """
    if not items:
        return
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise ImportError('work on several machines needs ray: pip install "regard[ray]"') from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    if gpus and ray.cluster_resources().get("GPU", 0) < gpus:
        raise ValueError(f"each task needs {gpus:g} GPU, and the cluster has none")
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment = {"env_vars": passed | {"OMP_NUM_THREADS": "1"}}
    task = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env=environment)(function)
    waiting = {task.remote(item): index for index, item in enumerate(items)}
    while waiting:
        ready, _ = ray.wait(list(waiting))
        for one in ready:
            yield waiting.pop(one), _outcome(ray, one)


def _outcome(ray: Any, task: Any) -> Any:
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        # What the function raised has the other machine's traceback around it.
        return getattr(error, "cause", None) or error

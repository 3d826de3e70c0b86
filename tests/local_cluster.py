"""A Ray cluster of this machine's, for tests of what runs on one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def local_cluster(environment: dict[str, Any]) -> Iterator[None]:
    """Start a cluster of two CPUs whose workers have a runtime environment, and end it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default: beside other tests they would hardly run
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
        try:
            yield
        finally:
            ray.shutdown()

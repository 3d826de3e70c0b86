"""What holds for every test: no hub, one thread, fixed seeds."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub; subprocesses inherit it
os.environ["MPLBACKEND"] = "agg"

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # models here are so small that a second thread only waits; pytest -n 2 uses both cores
# Shared machines are slow at times, so no deadline; in CI the same examples each time.
settings.register_profile("regard", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("regard")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Start every test from the same random state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

"""What holds for every test: no hub, two cores in all, fixed seeds."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub; subprocesses inherit it
os.environ["MPLBACKEND"] = "agg"

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
# Shared machines are slow at times, so no deadline; in CI the same examples each time.
settings.register_profile("regard", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("regard")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Start every test from the same random state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

"""Sampling from text-conditioned diffusion models."""

from .sample import sample

__all__ = ["sample"]

"""Changes of attention at inference: each is data, asks an attention a few terms at most, and returns one effect per call."""

from .heads import ScaleHeads, ZeroHeads
from .redistribute import Redistribute

__all__ = ["Redistribute", "ScaleHeads", "ZeroHeads"]

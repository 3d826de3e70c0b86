"""Changes of attention at inference: each is data, asks an attention a few terms at most, and returns one effect per call."""

from .base import BaseEdit
from .files import from_json, kinds, load_edits, save_edits, to_json
from .heads import MeanHeads, PatchHeads, ResampleHeads, ScaleHeads, UniformHeads, ZeroHeads
from .interpolate import Interpolate
from .keys import BiasKeys, BlockKeys, ScaleKeys, ScaleSegments
from .patch import PatchQueries, PatchWeights
from .redistribute import Redistribute
from .reinforce import ReinforceHeads
from .visual_sinks import RedistributeVisualSinks

__all__ = [
    "BaseEdit",
    "BiasKeys",
    "BlockKeys",
    "Interpolate",
    "MeanHeads",
    "PatchHeads",
    "PatchQueries",
    "PatchWeights",
    "Redistribute",
    "RedistributeVisualSinks",
    "ReinforceHeads",
    "ResampleHeads",
    "ScaleHeads",
    "ScaleKeys",
    "ScaleSegments",
    "UniformHeads",
    "ZeroHeads",
    "from_json",
    "kinds",
    "load_edits",
    "save_edits",
    "to_json",
]

"""Effects: the closed vocabulary of what may be done to an attention, each with its meaning on full maps.

`on_operands`, `on_scores`, `on_weights` and `on_output` are the definitions (and what the dense oracle runs);
`regard.core.attention` computes the same on outputs, without the map. One file per stage.
"""

from .effect import STAGES, Effect, Stage
from .inputs import ExtraKV, Replace
from .outputs import Out, Output
from .scores import Bias, Block, ScoreEffect, SetScores
from .weights import Blend, KeyScale, Mix, Renormalise, Rewrite, WeightEffect

__all__ = [
    "STAGES",
    "Bias",
    "Blend",
    "Block",
    "Effect",
    "ExtraKV",
    "KeyScale",
    "Mix",
    "Out",
    "Output",
    "Renormalise",
    "Replace",
    "Rewrite",
    "ScoreEffect",
    "SetScores",
    "Stage",
    "WeightEffect",
]

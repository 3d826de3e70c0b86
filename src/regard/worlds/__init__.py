"""Procedural data with its ground truth: every batch comes from a seed, and knows what each token is and what is right."""

from .batch import Batch, World
from .bigram_backcopy import BigramBackcopy
from .candidates import Candidates
from .induction import Induction
from .little_english import LittleEnglish
from .lookup import Lookup
from .modular import Modular
from .needle import Aggregation, Needle
from .parallel import Pairs, Parallel
from .patches import Patches, Patchwork
from .scenes import Pictures, Scenes
from .score import Score, evaluate, score

__all__ = [
    "Aggregation",
    "Batch",
    "BigramBackcopy",
    "Candidates",
    "Induction",
    "LittleEnglish",
    "Lookup",
    "Modular",
    "Needle",
    "Pairs",
    "Parallel",
    "Patches",
    "Patchwork",
    "Pictures",
    "Scenes",
    "Score",
    "World",
    "evaluate",
    "score",
]

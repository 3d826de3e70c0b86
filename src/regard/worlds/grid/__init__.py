"""Pictures of 8 by 8 cells with a prompt each, in which every object, place and hue is known and can be detected exactly."""

from .codec import from_rgb, to_rgb
from .detector import PRESENT, Detection, detect
from .grid import HELD_OUT_PAIRS, Drawings, Grid
from .tokenizer import NOUNS, prompt, tokenizer

__all__ = [
    "HELD_OUT_PAIRS",
    "NOUNS",
    "PRESENT",
    "Detection",
    "Drawings",
    "Grid",
    "detect",
    "from_rgb",
    "prompt",
    "to_rgb",
    "tokenizer",
]

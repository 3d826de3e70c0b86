"""Named sets of tokens, found from what users have: a tokenizer or processor, conversations, images, token ids."""

from .example import Example
from .expression import resolve
from .image import Grid, Picture
from .joint import LAYOUTS, JointSegments, Layout
from .run import TokenSegments
from .table import Segmentation
from .vocabulary import Vocabulary
from .words import FUNCTION_WORDS

__all__ = [
    "FUNCTION_WORDS",
    "LAYOUTS",
    "Example",
    "Grid",
    "JointSegments",
    "Layout",
    "Picture",
    "Segmentation",
    "TokenSegments",
    "Vocabulary",
    "resolve",
]

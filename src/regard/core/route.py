"""How an effect will be computed, in a word or two, for people who ask before they run it."""

from torch import Tensor

from . import fused, rowwise
from .attention import Attention
from .edited import few_keys
from .effects import Blend, Effect, KeyScale, Mix, SetScores
from .effects.inputs import InputEffect
from .effects.outputs import OutputEffect
from .effects.scores import ScoreEffect
from .operands import Operands


def route(attention: Attention, effect: Effect) -> str:
    """Say how an effect on an attention is computed: on the outputs, by fused calls, segment by segment, or block by block."""
    op = attention.op
    match effect:
        case OutputEffect():
            return "on head outputs"
        case SetScores():
            return "block by block"
        case InputEffect() | ScoreEffect():
            return "by a fused call" if _fused(effect.on_operands(op)) else "block by block"
    if op.dropout or op.extra:
        return "block by block"
    match effect:
        case Mix() if isinstance(effect.weights, Tensor) and few_keys(attention, effect.part):
            return "segment by segment"
        case Mix() if not attention.edits and rowwise.supports(op):
            return "segment by segment"
        case Blend() if effect.at is not None:
            return "on head outputs"
        case Blend() | KeyScale() if _fused(op) and not attention.edits:
            return "by a fused call"
    return "block by block"


def _fused(op: Operands) -> bool:
    """Say whether a kernel of our own or of PyTorch's attends."""
    return rowwise.supports(op) or fused.supports(op)

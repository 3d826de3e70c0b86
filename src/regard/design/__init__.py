"""Trainable attention layers, and putting them into a model that is there."""

from .attention import AttentionDesign, apply, remove
from .clipped import ClippedSoftmax
from .fixed_value import FixedValueBias
from .gate import Gate, gated, remove_gates
from .key_bias import KeyBias, KeyValueBias, ScaledSoftmax, SoftmaxOffByOne, ValueBias
from .normaliser import EluAttention, EluKernelAttention, SigmoidAttention
from .p_normalised import PNormalised
from .shared_bias import SharedKeyValueBias
from .signed import SignedAttention
from .sink_logit import SinkLogit
from .softpick import Softpick
from .stored import load, save

__all__ = [
    "AttentionDesign",
    "ClippedSoftmax",
    "EluAttention",
    "EluKernelAttention",
    "FixedValueBias",
    "Gate",
    "KeyBias",
    "KeyValueBias",
    "PNormalised",
    "ScaledSoftmax",
    "SharedKeyValueBias",
    "SigmoidAttention",
    "SignedAttention",
    "SinkLogit",
    "SoftmaxOffByOne",
    "Softpick",
    "ValueBias",
    "apply",
    "gated",
    "load",
    "remove",
    "remove_gates",
    "save",
]

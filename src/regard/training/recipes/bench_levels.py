"""A bench model for what forms a sink: a block that only has a feed-forward layer, then one that attends."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from .bench_sink import BenchSink


@dataclass(frozen=True, kw_only=True)
class BenchLevels(BenchSink):
    """A GPT-2 of two layers; the attention of the first writes zeros and stays so."""

    name = "bench-levels"
    about = (
        "A GPT-2 of two layers, one head each, that predicts the bigram-backcopy language. The attention of the first layer "
        "writes zeros, so that what makes the second layer's sink of BOS is its embedding or the first feed-forward layer."
    )

    steps: int = 400
    layers: int = 2
    heads: int = 1
    positions: Literal["rotary", "learned"] = "learned"

    def model(self) -> nn.Module:
        if self.positions != "learned":
            raise ValueError("bench-levels is a GPT-2, with learned positions")
        model = super().model()
        projection = model.get_submodule("transformer.h.0.attn.c_proj").requires_grad_(False)
        for parameter in projection.parameters():
            nn.init.zeros_(parameter)
        return model


RECIPE = BenchLevels()

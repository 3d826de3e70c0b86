"""Attention on sinks, handed to what an image shows."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Effect, Mix, Stage
from ..core.protocols import Causality, Terms
from ..core.terms import Block, Part
from .base import BaseEdit

RELATIVE_TAU = 20 / 64
"""The published threshold of 20 as a share of sqrt(4096), the most that a token of Llama-2-7B can reach."""
VISUAL, OTHER, SHOWN, REST = range(4)


def sink_strength(resid: Tensor, dims: Sequence[int]) -> Tensor:
    """Return how far the sink dimensions stand out, [batch, token]: the largest of `|x_d| / RMS(x)` over `dims`.

    Shape of resid: [batch, token, width], the residual stream before a norm. No value exceeds sqrt(width). Computed in float32,
    since huge values overflow float16 when they are squared. Visual attention sinks, arXiv 2503.03321, section 3.
    """
    x = resid.float()
    rms = (x.square().mean(-1) + 1e-6).sqrt()
    return x[..., list(dims)].abs().amax(-1) / rms


def behind_image(call: Call) -> Tensor:
    """Return which queries come behind the last image, [batch or 1, query] bool."""
    index = torch.arange(call.op.q_len, device=call.q.device) + call.q_index
    return index >= torch.as_tensor(call.mark("image"), device=index.device).reshape(-1, 1)


@dataclass(frozen=True, eq=False, repr=False)
class RedistributeVisualSinks(BaseEdit):
    """Move a share of the attention on sinks to the image tokens that are none, in heads and queries that look at the image.

    A token of the prompt is a sink of a layer if its `sink_strength` where the layer begins is above `tau`, in images (segment
    "image") and elsewhere alike; later tokens never are. A query behind the last image gives up `move` of its mass on sinks, in
    heads where images have at least `min_image_mass` of it and their tokens that are no sinks at least `min_nonsink_share`
    of that; the tokens that are no sinks get it in proportion to what they have. Rows keep their mass. Visual attention
    redistribution (VAR), arXiv 2503.03321, section 4.

    The reference code counts `move` and `min_nonsink_share` from the other end, as 1 minus these. Raises ValueError for no
    dimensions, for a share that is none, for a `tau` that no token can reach, and for rows chosen otherwise.

    Args:
        dims: The sink dimensions of the language model, as `regard.lens.sink_dims.find_sink_dims` finds them.
        layers: Which layers; the paper takes the third to the last but one.
        tau: 20 in the paper; None scales it with the width, to 0.3125 sqrt(width).
        move: The share taken, 0.6 in the paper; 0 changes nothing.
        min_nonsink_share: 0.8 in the paper for general tasks, 0.5 against hallucination, 0.9 for what is to be seen exactly.
        min_image_mass: 0.2 in the paper.
        without_visual_sinks: Act, too, in a layer where an image has no sink and only text has; the reference code does not.
        give_to: "rest" gives to tokens that are neither sinks nor of an image: the paper's control.
    """

    dims: Sequence[int]
    layers: Sequence[int] = field(kw_only=True)
    tau: float | None = 20.0
    move: float = 0.6
    min_nonsink_share: float = 0.5
    min_image_mass: float = 0.2
    without_visual_sinks: bool = False
    give_to: Literal["image", "rest"] = "image"
    stage: ClassVar[Stage] = "weights"
    causality: ClassVar[Causality] = "sequence"

    def __post_init__(self) -> None:
        if not self.dims:
            raise ValueError("there are no sink dimensions: lens.sink_dims.find_sink_dims finds those of a model")
        if not 0 <= self.move <= 1:
            raise ValueError(f"move is the share of the attention that is taken, between 0 and 1, not {self.move}")
        if self.phase == "decode" or self.queries != "all" or self.since is not None:
            raise ValueError("sinks are found in the prompt's own pass, and rows are those behind the image")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        sinks = self.sinks(call, state)
        image = call.keys("image")
        yield {}
        if not bool(image.any()):
            return None
        labels = torch.where(image, SHOWN, REST).masked_fill(call.kpos < 0, -1)
        labels = torch.where(sinks, torch.where(image, VISUAL, OTHER), labels)
        acts = image.any(-1)
        if not self.without_visual_sinks:
            acts = acts & (sinks & image).any(-1)
        labels = torch.where(acts[:, None], labels, -1)
        behind = behind_image(call)
        if self.give_to == "image":
            labels = labels.masked_fill(labels == REST, -1)

        def factors(mass: Tensor, block: Block) -> Tensor:
            return self.factors(mass, behind[:, None, slice(*block.rows)])

        return Mix(Part(labels, 3 if self.give_to == "image" else 4), factors)

    def gate(self, mass: Tensor) -> Tensor:
        """Say which rows look at the image, [batch, head, query] bool, from the masses of segments [..., segment]."""
        seen = mass[..., VISUAL] + mass[..., SHOWN]
        return (seen >= self.min_image_mass) & (mass[..., SHOWN] >= self.min_nonsink_share * seen)

    def factors(self, mass: Tensor, behind: Tensor) -> Tensor:
        """Return the factors of segments from their masses, both [batch, head, query, segment]."""
        given = mass[..., SHOWN if self.give_to == "image" else REST]
        there = given > torch.finfo(given.dtype).eps ** 2  # below that the gain would overflow
        moved = self.move * (self.gate(mass) & behind & there).to(mass.dtype)
        gain = 1 + moved * (mass[..., VISUAL] + mass[..., OTHER]) / given.where(there, 1.0)
        kept = torch.ones_like(gain)
        if self.give_to == "image":
            return torch.stack([1 - moved, 1 - moved, gain], -1)
        return torch.stack([1 - moved, 1 - moved, kept, gain], -1)

    def sinks(self, call: Call, state: dict[str, Any]) -> Tensor:
        """Return which keys are sinks, [batch, key] bool; those of the prompt's tokens are found as they come, and stay."""
        found = state.get("sinks")
        known = 0 if found is None else found.shape[1]
        new = min(call.q_index + call.op.q_len, call.session.prompt) - known
        if new > 0:
            resid = call.resid()[:, known - call.q_index :][:, :new]
            tau = RELATIVE_TAU * sqrt(resid.shape[-1]) if self.tau is None else self.tau
            if tau >= sqrt(resid.shape[-1]):
                raise ValueError(
                    f"no token of width {resid.shape[-1]} can stand out by {tau}: give a lower tau, or None for one of its width"
                )
            now = (sink_strength(resid, self.dims) > tau).to(call.kpos.device)
            found = now if found is None else torch.cat([found, now], 1)
            state["sinks"] = found
        assert found is not None
        here = found[:, call.k_index : call.k_index + call.op.k_len]
        here = torch.nn.functional.pad(here, (0, call.op.k_len - here.shape[1]))
        return here & (call.kpos >= 0)

"""Effects on weights, computed on outputs: each as the change of the output that the change of weights makes (facts 4 to 6)."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import blockwise, rowwise
from .attend import attend
from .effects import Blend, KeyScale, Mix, WeightEffect
from .effects.weights import gain
from .operands import Operands
from .parts import segments
from .rowwise import attend_to
from .scores import beside
from .terms import Block, Part, Parts, Row

if TYPE_CHECKING:
    from .attention import Attention


FEW = 0.25
"""Up to about this share of the keys, attending to segments apart beats one pass over all weights.

On a CPU the two cost the same between an eighth (causal) and a half (full) of the keys, at 512 and 2048 tokens.
"""


def kept(new: Tensor, old: Callable[[], Tensor], changed: Tensor) -> Tensor:
    """Return `new` [batch, head, query, value_dim] where rows have changed, and the old output, bit by bit, elsewhere."""
    if bool(changed.all()):
        return new
    return torch.where(changed[..., None].to(new.device), new, old().to(new.dtype))


def changed_weights(attention: "Attention", effect: WeightEffect) -> Tensor:
    """Return the output [batch, head, query, value_dim] after a change of the weights of `attention`."""
    op = attention.op
    if op.dropout == 0 and not op.extra:  # a random draw is one for all, and extra keys have a say in the output
        match effect:
            case Mix() if isinstance(effect.weights, Tensor) and few_keys(attention, effect.part):
                return kept(_mixed(attention, effect, effect.weights), attention.output, effect.acting)
            case Mix() if not attention.edits and rowwise.supports(op):
                new, acting = _mixed_of_parts(op, effect)
                return kept(new, attention.output, acting)
            case KeyScale():
                return kept(_key_scaled(attention, effect), attention.output, effect.acting)
            case Blend() if effect.at is not None or not op.laws:
                return kept(_blended(attention, effect), attention.output, effect.acting)
    asked = (blockwise.Output(), blockwise.Changed())
    out, changed = blockwise.answer(op, (*attention.edits, effect), asked)
    assert isinstance(out, Tensor) and isinstance(changed, Tensor)
    return kept(out.to(op.v.dtype), attention.output, changed)


def few_keys(attention: "Attention", part: Part) -> bool:
    """Say whether segments are better computed each by itself: they are known already, or hold few of the keys."""
    if part in attention.known:
        return True
    return int((part.labels >= 0).sum(-1).max()) <= FEW * attention.op.k_len


def _mixed(attention: "Attention", mix: Mix, weights: Tensor) -> Tensor:
    out = attention.output()
    if not mix.renormalise:
        # O + sum (w - 1) O_s rather than sum w O_s: neutral weights leave the output bit-equal, untouched keys are not read.
        share = _part(attention, mix.part)
        delta = ((weights - 1)[..., None] * share.out).sum(-2)
        return (out.to(delta.dtype) + delta).to(out.dtype)
    share = _part(attention, Part(mix.part.labels.remainder(mix.part.n + 1), mix.part.n + 1))
    weights = torch.cat([weights, torch.ones_like(weights[..., :1])], -1).to(share.mass.dtype)
    factor = gain((weights * share.mass).sum(-1), share.mass.sum(-1), mix.renormalise)
    return ((weights[..., None] * share.out).sum(-2) * factor[..., None]).to(out.dtype)


def _mixed_of_parts(op: Operands, mix: Mix) -> tuple[Tensor, Tensor]:
    """Return the output after a mix, put together from what every segment gives by itself, and the rows that it changes."""
    every = Part(mix.part.labels.remainder(mix.part.n + 1), mix.part.n + 1)  # keys of no segment are one more
    own = [attend_to(op, keys, real) for keys, real in segments(every, op.batch)]
    others = beside(op, (0, op.q_len))
    lses = torch.stack([lse for _, lse in own], -1)
    total = torch.logsumexp(lses if others is None else torch.cat([lses, others], -1), -1, keepdim=True)
    mass = torch.exp(lses - total.masked_fill(total.isneginf(), 0.0))
    weights = mix.weights
    if not isinstance(weights, Tensor):
        weights = weights(mass[..., :-1], Block(None, (0, op.q_len), (0, op.k_len)))
    w = torch.cat([weights.to(mass.dtype).expand_as(mass[..., :-1]), torch.ones_like(mass[..., -1:])], -1)
    changed = mix.acting & (w != 1).any(-1)
    share = w * mass
    if mix.renormalise:
        share = share * gain(share.sum(-1), mass.sum(-1), mix.renormalise)[..., None]
    else:
        changed = changed & ((w != 1) & (mass > 0)).any(-1)
    out = own[0][0] * share[..., :1]
    for index, (part, _) in enumerate(own[1:], 1):
        out = torch.addcmul(out, part, share[..., index : index + 1])
    return out.to(op.v.dtype), changed


def _part(attention: "Attention", part: Part) -> Parts:
    (answer,) = attention.answer([part])
    assert isinstance(answer, Parts)
    return answer


def _key_scaled(attention: "Attention", effect: KeyScale) -> Tensor:
    op, out = attention.op, attention.output()
    v, w = op.v.to(op.work_dtype), effect.w.to(op.work_dtype)[..., None]
    if w.shape[1] > 1:
        v = v.repeat_interleave(op.groups, 1)
    if not effect.renormalise:
        delta = _row(attention, (w - 1) * v)
        return (out.to(delta.dtype) + delta).to(out.dtype)
    w = w.expand(*v.shape[:3], 1)
    packed = _row(attention, torch.cat([w * v, w, torch.ones_like(w)], -1))
    new, mass, before = packed[..., :-2], packed[..., -2], packed[..., -1]
    return (new * gain(mass, before, effect.renormalise)[..., None]).to(out.dtype)


def _row(attention: "Attention", f: Tensor) -> Tensor:
    (answer,) = attention.answer([Row(f)])
    assert isinstance(answer, Tensor)
    return answer


def _blended(attention: "Attention", blend: Blend) -> Tensor:
    op, out = attention.op, attention.output()
    if blend.at is not None:
        at = blend.at.clamp_min(0).expand(op.batch, -1)[:, None, :, None]
        target = op.v.gather(2, at.expand(-1, op.v.shape[1], -1, op.v.shape[-1])).repeat_interleave(op.groups, 1)
    else:
        target = attend(_indifferent(op))[0]
    strength = blend.strength
    if isinstance(strength, Tensor):
        strength = strength[..., None].to(op.work_dtype)
    old = out.to(op.work_dtype)
    new = (old + strength * (target.to(old.dtype) - old)).to(out.dtype)
    there = _row(attention, torch.ones(op.k_len, 1, dtype=op.work_dtype, device=op.q.device)) != 0
    return torch.where(there, new, out)


def _indifferent(op: Operands) -> Operands:
    """Return the attention that gives the same weight to every key that a query sees: that of queries of zero."""
    bias, table = op.bias, op.mask.table
    if bias is not None:
        bias = torch.zeros_like(bias).masked_fill(bias.isneginf(), float("-inf"))
    mask = op.mask
    if table is not None and table.dtype != torch.bool:
        mask = replace(mask, table=table > torch.finfo(table.dtype).min / 2)
    return replace(op, q=torch.zeros_like(op.q), mask=mask, bias=bias, sink=None, softcap=None)

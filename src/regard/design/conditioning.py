"""Experiments of classical conditioning, on anything that learns pairs within a sequence.

A trial is a pair of a stimulus (key) and what follows it (value); a compound stimulus is the sum of two, not normalised.
Responses are scored as `r = <response, us> / |us|^2`. Source of the analogy: arXiv 2508.08289; the battery is ours, from
textbooks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Respond = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`respond(keys, values, probe)`: the response [batch, value_dim] to a probe [batch, dim] after trials [batch, trial, ...]."""


@dataclass(frozen=True)
class Stimuli:
    """Three stimuli [batch, dim], what follows them, `us` [batch, value_dim], and other pairs that come before all trials.

    Shapes of those: keys [batch, pair, dim], values [batch, pair, value_dim]. A memory that competes when it is read answers the
    same to every probe unless there are some.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    us: Tensor
    other_keys: Tensor
    other_values: Tensor


def responses(respond: Respond, stimuli: Stimuli, trials: int) -> dict[str, Tensor]:
    """Return the scores r [batch] of the battery, each phase of so many trials.

    `acquisition`: A after A+. `extinction`: A after A+ and then A alone. `blocked`: B after A+ and then AB+; `unblocked`: the
    same with C+ first. `overshadowed`: A after AB+. `inhibited`: B after A+ and AB- in turn. `latent`: A after A alone and then
    A+.
    """
    one = stimuli
    ab, no = one.a + one.b, torch.zeros_like(one.us)
    a_plus, c_plus, ab_plus = ((key, one.us) for key in (one.a, one.c, ab))
    a_alone = (one.a, no)

    def after(phases: Sequence[Sequence[tuple[Tensor, Tensor]]], probe: Tensor) -> Tensor:
        shown = [pair for phase in phases for pair in list(phase) * trials]
        keys = torch.cat([one.other_keys, torch.stack([key for key, _ in shown], 1)], 1)
        values = torch.cat([one.other_values, torch.stack([value for _, value in shown], 1)], 1)
        return (respond(keys, values, probe) * one.us).sum(-1) / one.us.square().sum(-1)

    return {
        "acquisition": after([[a_plus]], one.a),
        "extinction": after([[a_plus], [a_alone]], one.a),
        "blocked": after([[a_plus], [ab_plus]], one.b),
        "unblocked": after([[c_plus], [ab_plus]], one.b),
        "overshadowed": after([[ab_plus]], one.a),
        "inhibited": after([[a_plus, (ab, no)]], one.b),
        "latent": after([[a_alone], [a_plus]], one.a),
    }


def blocking(found: dict[str, Tensor]) -> float:
    """Return the blocking index, `1 - r_B / r_B` without A+ first, of mean responses; NaN where B is not learnt at all."""
    learnt = float(found["unblocked"].mean())
    return float("nan") if abs(learnt) < 0.05 else 1 - float(found["blocked"].mean()) / learnt


def generalisation(respond: Respond, stimuli: Stimuli, trials: int, cosines: Sequence[float]) -> list[float]:
    """Return the mean response to probes at these cosines to A, after A+."""
    one = stimuli
    a = one.a / one.a.norm(dim=-1, keepdim=True)
    beside = one.b - (one.b * a).sum(-1, keepdim=True) * a
    beside = beside / beside.norm(dim=-1, keepdim=True)
    keys = torch.cat([one.other_keys, one.a[:, None].expand(-1, trials, -1)], 1)
    values = torch.cat([one.other_values, one.us[:, None].expand(-1, trials, -1)], 1)
    scale = one.a.norm(dim=-1, keepdim=True)
    found = []
    for cosine in cosines:
        probe = scale * (cosine * a + (1 - cosine**2) ** 0.5 * beside)
        said = respond(keys, values, probe)
        found.append(float(((said * one.us).sum(-1) / one.us.square().sum(-1)).mean()))
    return found

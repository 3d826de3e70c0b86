"""Attention rollout on a model's own weights: from which tokens a query's state comes, were attention all (arXiv 2502.01951)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..core.call import Call
from ..core.patchwork import Patchwork
from ..core.terms import Col
from ..core.where import Where

if TYPE_CHECKING:
    from .lens import Lens

Residual = Literal["none", "half", "measured"] | Sequence[float]
Heads = Literal["mean", "norm"]


@dataclass(frozen=True, eq=False)
class Rollout:
    """Where a query's state comes from by rollout, and what was taken for attention's share of each layer.

    Shapes: `mass` [example, token], 0 at padding, float64 on the CPU; `shares` [layer, example]. A mass that sums to less than 1
    is of a model whose rows do: sink logits and extra keys take the rest. It is not influence: compare it with `influence`.
    """

    mass: Tensor
    shares: Tensor
    residual: str
    valid: Tensor

    def profiles(self) -> list[Tensor]:
        """Return the mass of each example without its padding, [token]."""
        return [row[real] for row, real in zip(self.mass, self.valid, strict=True)]

    def __repr__(self) -> str:
        shares = ", ".join(f"{float(share):.3f}" for share in self.shares.mean(1))
        first = sum(float(profile[0]) for profile in self.profiles()) / len(self.mass)
        return (
            f"Rollout({len(self.mass)} examples; residual {self.residual}, attention's share by layer: {shares}; "
            f"mass on the first token {first:.3f})"
        )


@torch.no_grad()
def position_profile(
    lens: "Lens", x: Mapping[str, Any], residual: Residual, *, heads: Heads = "mean", query: int = -1
) -> Rollout:
    """Return the row of one query of the rollout over all self-attention layers of the model's main part.

    A layer is `(1 - share) I + share A`, where A is the mean over heads, or with "norm" the mean weighted by each head's mean
    norm of its outputs before they are mixed (where arXiv 2602.16837 takes that norm is not established). `residual` has no
    default, since it decides what comes out: "none" is a share of 1 and the theory of arXiv 2502.01951, in which all mass goes to
    the first token of a deep causal model; "half" is a share of 0.5 (arXiv 2005.00928); "measured" is
    `|a| / (|x| + |a|)`, its mean over tokens, of the residual stream x and attention's output a (arXiv 2602.16837); or a share
    for each layer. `query` counts an example's own tokens, from its end where negative. No map is held: each layer is one
    weighted column sum. Edits that are active count. Raises ValueError for shares that cannot be had, IndexError for a query that
    is not there.
    """
    x = lens.encode(x)
    where, met = Where(), list[tuple[Call, Patchwork]]()

    def probe(call: Call, patchwork: Patchwork) -> None:
        if where.at(call.site):
            met.append((call, patchwork))

    lens._run(x, probe)
    if not met:
        raise ValueError(lens._nothing(None, "self"))
    odd = next((call for call, _ in met if call.op.q_len != call.op.k_len), None)
    if odd is not None:
        raise ValueError(
            f"{odd.site} has {odd.op.q_len} queries and {odd.op.k_len} keys, and a rollout has one sequence"
        )
    valid = met[0][0].qpos >= 0
    shares = _shares(lens, x, residual, len(met), valid)
    state = _start(valid, query)
    for (call, patchwork), share in zip(reversed(met), shares.flip(0), strict=True):
        state = state.to(call.q.device)  # layers may be on several
        by_head = _by_head(call, patchwork, heads)
        (mixed,) = patchwork.answer([Col((by_head[..., None] * state[:, None]).to(call.op.work_dtype))])
        assert isinstance(mixed, Tensor)
        part = share.to(state.device)[:, None]
        state = (1 - part) * state + part * mixed.double().sum(1)
    name = residual if isinstance(residual, str) else "given"
    return Rollout(state.cpu(), shares.cpu(), name, valid.cpu())


def _start(valid: Tensor, query: int) -> Tensor:
    """Return 1 at the query of each example, [example, token] float64."""
    start = torch.zeros(valid.shape, dtype=torch.float64, device=valid.device)
    for row, real in enumerate(valid):
        places = real.nonzero()[:, 0]
        if not -len(places) <= query < len(places):
            raise IndexError(f"there is no query {query} in an example of {len(places)} tokens")
        start[row, places[query]] = 1.0
    return start


def _by_head(call: Call, patchwork: Patchwork, heads: Heads) -> Tensor:
    """Return how much each head counts, [example, head] float64, sum 1."""
    if heads == "mean":
        return torch.full((call.op.batch, call.op.heads), 1 / call.op.heads, dtype=torch.float64, device=call.q.device)
    if heads != "norm":
        raise ValueError(f"heads is mean or norm, not {heads!r}")
    norms = call.mean(patchwork.output(call.host).double().norm(dim=-1)[..., None])[..., 0]
    return norms / norms.sum(-1, keepdim=True)


def _shares(lens: "Lens", x: Mapping[str, Any], residual: Residual, layers: int, valid: Tensor) -> Tensor:
    """Return attention's share in each layer, [layer, example] float64."""
    if residual in ("none", "half"):
        return torch.full((layers, len(valid)), 1.0 if residual == "none" else 0.5, dtype=torch.float64)
    if residual == "measured":
        return measured_shares(lens, x, layers, valid)
    if isinstance(residual, str):
        raise ValueError(f"residual is none, half, measured or a share for each layer, not {residual!r}")
    given = torch.tensor([float(share) for share in residual], dtype=torch.float64)
    if len(given) != layers or bool(((given < 0) | (given > 1)).any()):
        raise ValueError(f"residual has {given.tolist()}, and must have a share in [0, 1] for each of {layers} layers")
    return given[:, None].expand(-1, len(valid))


def measured_shares(lens: "Lens", x: Mapping[str, Any], layers: int, valid: Tensor) -> Tensor:
    """Return the mean over tokens of `|a| / (|x| + |a|)`, [layer, example]; `valid` [example, token] are the tokens that count.

    Raises ValueError for a model whose blocks are not `x + attention + feed-forward`, since then a is not what is read there.
    """
    kinds = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    advice = "attention's share cannot be read off it: give a share for each layer"
    try:
        found = lens.cache(x, [f"{kind}.{layer}" for layer in range(layers) for kind in kinds])
    except ValueError as error:
        raise ValueError(f"{advice} ({error})") from error
    after_norm = getattr(getattr(lens.model, "config", None), "apply_residual_connection_post_layernorm", False)
    shares = []
    for layer in range(layers):
        here = found[f"resid_post.{layer}"].device  # layers may be on several, and what comes in is of the one before
        before, a, fed, after = (found[f"{kind}.{layer}"].to(here).double() for kind in kinds)
        if torch.equal(fed, after) and not after_norm:  # as in BLOOM, whose modules add the residual stream themselves
            a, fed = a - before, after - a
        if float((before + a + fed - after).norm()) > 0.02 * float(after.norm()):
            raise ValueError(f"the block of layer {layer} is not x + attention + feed-forward, so that {advice}")
        size, stream = a.norm(dim=-1), before.norm(dim=-1)
        share = (size / (size + stream).clamp_min(torch.finfo(torch.float64).tiny)) * valid.to(here)
        shares.append(share.sum(1).to(valid.device) / valid.sum(1))
    return torch.stack(shares)

"""Attention that writes by the delta rule, as a design for models of transformers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.call import Call
from ..core.effects import Effect, Replace
from ..core.protocols import Edit
from .attention import AttentionDesign, Given, Heads, Learnt, always
from .signed import SignedAttention


@dataclass(frozen=True)
class DeltaRule(AttentionDesign):
    """Linear attention to what each value adds to what was known: `o_i = sum_j<=i scale (q_i k_j) u_j` with unit keys.

    `u_j = eta (v_j - sum_l<j (k_j k_l) u_l)`; eta between 0 and 1 is learnt for each head of keys, from `start` on. It is for
    causal attention without a window. What a lens measures are the signed weights `scale (q_i k_j)` on the u_j. Each decoded
    token computes the u_j again, O(key^2 dim). Source: the delta rule in arXiv 2508.08289. Raises ValueError for a start out of
    range.
    """

    start: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.start < 1:
            raise ValueError(f"eta starts between 0 and 1, not at {self.start}")

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        return {"eta": torch.full((heads.kv, 1, 1), torch.logit(torch.tensor(self.start)).item())}

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        written = given.seen.any(-2)  # [batch, 1, key]; padding is seen by nobody
        k, u = self._written(given.k, given.v, written, learnt)
        return _LINEAR.attend(given._replace(k=k, v=u), learnt)

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        def replaced(call: Call) -> Effect:
            k, u = self._written(call.k, call.v, (call.kpos >= 0)[:, None], learnt)
            return Replace(k=k, v=u)

        return (always("inputs", replaced), *_LINEAR.edits(learnt))

    def _written(self, k: Tensor, v: Tensor, real: Tensor, learnt: Learnt) -> tuple[Tensor, Tensor]:
        """Return unit keys and what is written with them, in float32 or better; nothing where a key is not real."""
        work = torch.promote_types(k.dtype, torch.float32)
        k = nn.functional.normalize(k.to(work), dim=-1)
        eta = torch.where(real[..., None], learnt["eta"].to(work).sigmoid(), 0.0)
        overlap = (eta * (k @ k.mT)).tril(-1)
        eye = torch.eye(k.shape[-2], dtype=work, device=k.device)
        u = torch.linalg.solve_triangular(overlap + eye, eta * v.to(work), upper=False, unitriangular=True)
        return k.to(v.dtype), u.to(v.dtype)


_LINEAR = SignedAttention()

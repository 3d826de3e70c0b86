"""A bench model of grokking: a small GPT-NeoX on arithmetic modulo a prime, at any weight decay."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ...lens import Lens
from ...worlds.batch import Batch
from ...worlds.modular import Modular
from ..head_monitor import head_numbers
from ..optimiser import AdamW
from ..recipe import Recipe

JUDGED = 1024


@dataclass(frozen=True, kw_only=True)
class BenchGrokking(Recipe):
    """Reads `a b =` and says the answer; ends as soon as 99 % of the held-out pairs are right.

    With `renewed_at`, the first head of each layer is drawn anew before that step, counted from 0.
    """

    name = "bench-grokking"
    about = (
        "A small GPT-NeoX that computes modulo a prime. It soon knows its training pairs by heart; with enough weight decay "
        "it comes to compute the others, too."
    )
    corpus = (
        "A share of all pairs of `regard.worlds.modular`, the same for all seeds; each step draws a batch of them. Evaluated on "
        "others, of which some are mirror images of training pairs: where the operation commutes, these are known."
    )

    steps: int = 1800
    optimiser: AdamW = field(
        default_factory=lambda: AdamW(lr=2e-3, schedule="constant", betas=(0.9, 0.98), weight_decay=1.0, clip=None)
    )
    evaluate_every: int = 40
    checkpoint_every: int = 400
    target: Mapping[str, float] = field(default_factory=lambda: {"accuracy": 0.99})
    batch_size: int = 256
    layers: int = 1
    heads: int = 4
    width: int = 64
    renewed_at: int | None = None
    arithmetic: Modular = field(default_factory=lambda: Modular(p=59, split="ordered", fraction=0.4))

    def model(self) -> nn.Module:
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        return GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=self.arithmetic.vocabulary,
                hidden_size=self.width,
                intermediate_size=4 * self.width,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                max_position_embeddings=8,
                use_parallel_residual=False,
                bos_token_id=None,
                eos_token_id=None,
            )
        )

    @cached_property
    def _pairs(self) -> Batch:
        return self.arithmetic.train()

    @cached_property
    def _others(self) -> Batch:
        held = self.arithmetic.held_out()
        return held.take(torch.randperm(len(held), generator=torch.Generator().manual_seed(0))[:JUDGED])

    def batch(self, step: int) -> Mapping[str, Tensor]:
        generator = torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + step)
        ids = self._pairs.ids[torch.randint(len(self._pairs), (self.batch_size,), generator=generator)]
        return {"ids": ids} if self.renewed_at is None else {"ids": ids, "renew": torch.tensor(step == self.renewed_at)}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        if "renew" in batch and bool(batch["renew"]):
            renew(model)
        return nn.functional.cross_entropy(_answers(model, batch["ids"]), batch["ids"][:, 3])

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        device = next(model.parameters()).device
        held, shown = self._others, self._pairs.ids[:JUDGED].to(device)
        right = _answers(model, held.ids.to(device)).argmax(-1).cpu() == held.truth["answer"]
        said, mirrored = _answers(model, shown), held.truth["mirrored"]
        numbers = head_numbers(Lens(model, check=False), {"input_ids": held.ids[:256, :3].to(device)})
        return {
            "accuracy": float(right.float().mean()),
            "mirrored": float(right[mirrored].float().mean()),
            "unmirrored": float(right[~mirrored].float().mean()),
            "train_accuracy": float((said.argmax(-1) == shown[:, 3]).float().mean()),
            "train_loss": float(nn.functional.cross_entropy(said, shown[:, 3])),
            "norm": float(torch.stack([one.norm() for one in model.parameters()]).norm()),
            "similarity": numbers.similarity,
            "centred_similarity": numbers.centred_similarity,
            "entropy_spread": numbers.entropy_spread,
            "participation": numbers.participation,
        }


@torch.no_grad()
def renew(model: Any, head: int = 0) -> None:
    """Draw a head of each layer of a GPT-NeoX anew: its queries, keys, values and what it writes."""
    config = model.config
    dim = config.hidden_size // config.num_attention_heads
    for layer in model.gpt_neox.layers:
        attention = layer.attention
        inside, outside = slice(3 * dim * head, 3 * dim * (head + 1)), slice(dim * head, dim * (head + 1))
        attention.query_key_value.weight[inside].normal_(0.0, config.initializer_range)
        attention.query_key_value.bias[inside].zero_()
        attention.dense.weight[:, outside].normal_(0.0, config.initializer_range)


def _answers(model: Any, ids: Tensor) -> Tensor:
    """Logits [batch, token id] behind `a b =`."""
    logits: Tensor = model(input_ids=ids[:, :3], use_cache=False, logits_to_keep=1).logits[:, -1]
    return logits


RECIPE = BenchGrokking()

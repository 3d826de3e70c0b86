"""A bench model for gates: one layer of attention, and nothing else, on the bigram-backcopy language."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...design.gate import Gate
from ...design.stored import load, save
from ...worlds.bigram_backcopy import BigramBackcopy
from ..optimiser import AdamW
from ..recipe import HELD_OUT, Recipe


@dataclass(frozen=True, kw_only=True)
class BenchGate(Recipe):
    """A Llama of transformers with one layer and one head, whose MLP is zero and stays so, with a gate or without."""

    name = "bench-gate"
    about = (
        "A Llama with one layer, one head and no MLP (its weights are 0 and are not trained), with a gate on the attention's "
        "output or without. Its head has to copy after a trigger, and has nothing to do else."
    )
    corpus = (
        "Texts of `regard.worlds.bigram_backcopy`, made up from the seed and the step: BOS, then a bigram chain in which "
        "a trigger is followed by the token before it. Evaluated on texts of another seed in the same language."
    )

    steps: int = 2500
    optimiser: AdamW = field(default_factory=lambda: AdamW(lr=1e-2, schedule="wsd", decay=1.0, weight_decay=0.0))
    evaluate_every: int = 2500
    checkpoint_every: int = 2500
    batch_size: int = 32
    width: int = 32
    gate: Gate | None = None
    language: BigramBackcopy = field(default_factory=lambda: BigramBackcopy(length=33, symbols=32))

    def model(self) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=self.language.vocabulary,
            hidden_size=self.width,
            intermediate_size=1,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=4 * self.language.length,
            bos_token_id=0,
            eos_token_id=None,
        )
        model = LlamaForCausalLM(config)
        mlp = model.model.layers[0].mlp.requires_grad_(False)
        nn.init.zeros_(mlp.down_proj.weight)
        if self.gate is not None:
            self.gate.put(model)
        return model

    def batch(self, step: int) -> Mapping[str, Tensor]:
        return self.language.sample(self.batch_size, self.seed, step).inputs()

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        return {"copy_loss": copy_loss(model, self.language)}

    def save(self, model: Any, folder: Path) -> None:
        save(model, folder)

    def load(self, folder: str | Path) -> Any:
        return load(folder)


@torch.no_grad()
def copy_loss(model: Any, language: BigramBackcopy, count: int = 512) -> float:
    """Return the mean loss, in nats, of the tokens that follow a trigger, in texts that are not trained on."""
    texts = language.sample(count, HELD_OUT)
    logits = model(input_ids=texts.ids.to(model.device)).logits[:, :-1].float().cpu()
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), texts.ids[:, 1:], reduction="none")
    return losses[texts.roles["copied"][:, 1:]].mean().item()


RECIPE = BenchGate()

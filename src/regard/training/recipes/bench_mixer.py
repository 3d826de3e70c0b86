"""A bench model for mixers: a small Llama that learns a text with a fixed rule and the values of names, at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...design import stored
from ...worlds.bigram_backcopy import BigramBackcopy
from ...worlds.bindings import Bindings
from ..optimiser import AdamW
from ..recipe import HELD_OUT, Recipe


@dataclass(frozen=True, kw_only=True)
class BenchMixer(Recipe):
    """A Llama of transformers, with the mixer that `design` describes (`regard.design.stored.described`) from the start.

    Half of each batch is bigram-backcopy, where looking two tokens back is all that attention can add, and half is bindings,
    where it has to find the token that binds a name, so that maps have to depend on the text. They share no token.
    """

    name = "bench-mixer"
    about = (
        "A small Llama that learns two languages at once: one that fixed maps suffice for, and one that they do not."
    )
    corpus = (
        "Texts of `regard.worlds.bigram_backcopy` and `regard.worlds.bindings`, made up from the seed and the step. Evaluated on "
        "texts of another seed."
    )

    steps: int = 400
    optimiser: AdamW = field(default_factory=lambda: AdamW(lr=3e-3, schedule="constant", warmup=20))
    evaluate_every: int = 400
    checkpoint_every: int = 400
    batch_size: int = 32
    layers: int = 4
    heads: int = 4
    width: int = 64
    design: Mapping[str, Any] | None = None
    text: BigramBackcopy = field(default_factory=lambda: BigramBackcopy(length=31))
    recall: Bindings = field(default_factory=Bindings)

    def model(self) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=self.text.vocabulary + self.recall.vocabulary,
                hidden_size=self.width,
                intermediate_size=2 * self.width,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.heads,
                max_position_embeddings=128,
                bos_token_id=None,
                eos_token_id=None,
                initializer_range=0.1,
            )
        )
        if self.design is not None:
            stored.made(self.design).put(model)
        return model

    def texts(self, count: int, seed: int, step: int = 0) -> tuple[dict[str, Tensor], Tensor]:
        """Return inputs with labels, `count` texts of each language, and which tokens a rule copies, bool [batch, token]."""
        text, recall = self.text.sample(count, seed, step), self.recall.sample(count, seed, step)
        ids = torch.cat([text.ids, recall.ids + self.text.vocabulary])
        scored = torch.cat([text.scored, recall.scored])
        copied = torch.cat([text.roles["copied"], torch.zeros_like(recall.scored)])
        return {"input_ids": ids, "labels": ids.masked_fill(~scored, -100)}, copied

    def batch(self, step: int) -> Mapping[str, Tensor]:
        return self.texts(self.batch_size // 2, self.seed, step)[0]

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        batch, copied = self.texts(128, HELD_OUT)
        device = next(model.parameters()).device
        logits = model(input_ids=batch["input_ids"].to(device)).logits[:, :-1].float().cpu()
        labels = batch["labels"][:, 1:]
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        right, scored = logits.argmax(-1) == labels, labels >= 0
        text = torch.arange(len(labels))[:, None] < len(labels) // 2
        return {
            "loss": losses[scored].mean().item(),
            "text_loss": losses[scored & text].mean().item(),
            "copy": right[copied[:, 1:]].float().mean().item(),
            "recall": right[scored & ~text].float().mean().item(),
        }

    def save(self, model: Any, folder: Path) -> None:
        super().save(model, folder)
        if self.design is not None:
            stored.describe(model, folder)

    def load(self, folder: str | Path) -> Any:
        return super().load(folder) if self.design is None else stored.load(folder)


RECIPE = BenchMixer()

"""A bench model for cross-attention: a small M2M100 that translates word by word into a language of the opposite order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...worlds.parallel import Pairs, Parallel
from ..optimiser import AdamW
from ..recipe import HELD_OUT, Recipe


@dataclass(frozen=True, kw_only=True)
class BenchTranslation(Recipe):
    """An M2M100 of transformers on `Parallel`; `end` is where the source has its `</s>`."""

    name = "bench-translation"
    about = (
        "A small translation model. For a word its decoder has to look at one word of the source, and for a filler, behind every "
        "second word, at none."
    )
    corpus = (
        "Pairs of `regard.worlds.parallel`, made up from the seed and the step. Evaluated on pairs of another seed."
    )

    steps: int = 1000
    optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-3, schedule="cosine", warmup=50))
    evaluate_every: int = 1000
    checkpoint_every: int = 1000
    batch_size: int = 48
    layers: int = 2
    heads: int = 4
    width: int = 64
    end: Literal["last", "first", "none"] = "last"
    words: int = 24
    lengths: tuple[int, int] = (4, 10)
    order: Literal["same", "reversed", "swapped"] = "reversed"

    @property
    def language(self) -> Parallel:
        """What it is trained on."""
        return Parallel(words=self.words, orders=(self.order,), lengths=self.lengths, end=self.end)

    def model(self) -> nn.Module:
        from transformers import M2M100Config, M2M100ForConditionalGeneration

        return M2M100ForConditionalGeneration(
            M2M100Config(
                vocab_size=self.language.vocabulary,
                d_model=self.width,
                encoder_layers=self.layers,
                decoder_layers=self.layers,
                encoder_attention_heads=self.heads,
                decoder_attention_heads=self.heads,
                encoder_ffn_dim=2 * self.width,
                decoder_ffn_dim=2 * self.width,
                dropout=0.0,
                attention_dropout=0.0,
                activation_dropout=0.0,
                encoder_layerdrop=0.0,
                decoder_layerdrop=0.0,
                max_position_embeddings=128,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=1,
                decoder_start_token_id=1,
                forced_eos_token_id=None,
                init_std=0.1,  # in so narrow a model, embeddings would drown in the sinusoids of places
            )
        )

    def batch(self, step: int) -> Mapping[str, Tensor]:
        return self.language.sample(self.batch_size, self.seed, step).inputs()

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        return {"accuracy": told(model, self.language.sample(256, HELD_OUT))}


@torch.no_grad()
def told(model: Any, pairs: Pairs) -> float:
    """Return the share of the target's words and fillers that get a model's highest logit, the reference being before them."""
    given = {name: value.to(model.device) for name, value in pairs.inputs().items() if name != "labels"}
    said = model(**given).logits.argmax(-1).cpu()
    spoken = (pairs.target.roles["word"] | pairs.target.roles["filler"])[:, 1:]
    return (said == pairs.target.ids[:, 1:])[spoken].float().mean().item()


RECIPE = BenchTranslation()

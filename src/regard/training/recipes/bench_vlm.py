"""A bench model that sees, expects, and so imagines: a small Llama on pictures of a few patches."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...worlds.patches import IMAGE, Patches, Patchwork
from ..optimiser import AdamW
from ..recipe import Recipe

HELD_OUT = 1_000_000_009
"""The seed of the pictures for evaluation, the same for models of all seeds."""


@dataclass(frozen=True, kw_only=True)
class BenchVlm(Recipe):
    """A Llama of transformers that is asked for the colour of an object, and answers by sight or by what it expects.

    Colours are noisy, and four objects of five have the expected one, so the best answer weighs both. Where the colour is never
    the expected one ("contrary") such a model is often wrong: it says what it expects, as a vision-language model names an
    object that is often there. Variants by fields: `pictures` with `sinks` constant patches, or with `distractors`.
    """

    name = "bench-vlm"
    about = (
        "A small Llama that answers which colour an object in a picture has. Colours are noisy and most are as expected, so "
        "that it mixes what it sees with what it expects, and is often wrong where the colour is not the expected one."
    )
    corpus = (
        "Pictures and questions of `regard.worlds.patches`, made up from the seed and the step; a fifth of the batches has no "
        "picture. Evaluated on pictures of another seed, with never, and with always, the expected colours."
    )

    steps: int = 1500
    optimiser: AdamW = field(default_factory=lambda: AdamW(lr=2e-3, schedule="wsd", warmup=20, decay=0.4, final=0.1))
    evaluate_every: int = 500
    checkpoint_every: int = 500
    batch_size: int = 96
    layers: int = 3
    heads: int = 6
    width: int = 60
    pictures: Patches = field(default_factory=Patches)

    def model(self) -> nn.Module:
        from transformers import LlamaConfig

        from ..patch_llama import PatchLlama

        config = LlamaConfig(
            vocab_size=self.pictures.vocabulary,
            hidden_size=self.width,
            intermediate_size=3 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=None,
            patch_features=self.pictures.features,
            image_token_id=IMAGE,
        )
        return PatchLlama(config)

    def batch(self, step: int) -> Mapping[str, Tensor]:
        made = self.pictures.sample(self.batch_size, self.seed, step)
        return {**made.texts.inputs(), "patches": made.patches}

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        return {
            "contrary": accuracy(model, self.shown(1000, "contrary")),
            "consistent": accuracy(model, self.shown(1000, "consistent")),
        }

    def shown(
        self,
        count: int,
        colours: Literal["language", "contrary", "consistent"],
        step: int = 0,
        seed: int = HELD_OUT,
    ) -> Patchwork:
        """Return examples with a picture that are not trained on."""
        return self.pictures.sample(count, seed, step, colours, image=True)


def asked(made: Patchwork) -> dict[str, Tensor]:
    """Return what the model takes of examples: all but the answer, so that the last logits are about it."""
    texts = made.texts
    return {
        "input_ids": texts.ids[:, :-1],
        "attention_mask": texts.valid[:, :-1].long(),
        "patches": made.patches,
    }


@torch.no_grad()
def answers(
    model: Any,
    made: Patchwork,
    size: int = 500,
    around: Callable[[dict[str, Tensor]], AbstractContextManager[Any]] = lambda rows: nullcontext(),
) -> Tensor:
    """Return the logits of what a model answers, [batch, vocabulary], some examples at a time, each within `around` them."""
    given, found = asked(made), []
    for start in range(0, len(made.texts), size):
        rows = {name: values[start : start + size].to(model.device) for name, values in given.items()}
        with around(rows):
            found.append(model(**rows, logits_to_keep=1).logits[:, -1].float().cpu())
    return torch.cat(found)


def accuracy(model: Any, made: Patchwork, size: int = 500) -> float:
    """Return the share of examples to which a model says the right colour, of all that it could say."""
    return (answers(model, made, size).argmax(-1) == made.texts.truth["answer"]).float().mean().item()


RECIPE = BenchVlm()

"""The small language model that is shipped: a Llama that tells and answers in little English."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...worlds import Batch, Induction, LittleEnglish, evaluate
from ...worlds.draw import generator
from ...worlds.little_english import tokenizer
from ...worlds.little_english.questions import QUESTIONS
from ...worlds.little_english.tokenizer import BOS
from ..optimiser import AdamW
from ..recipe import HELD_OUT, Recipe

SEEN = 64
"""Tokens of a text in which sinks are measured, as in arXiv 2410.10781."""
INDUCTION = 0.3
"""Weight beyond its control from which on a head counts as an induction head."""
ANSWER = 5.0
"""Weight in the loss of a token that the text before it settles: one answers, or stands in a repetition."""
SAMPLE = "sample.txt"
"""The file of some texts that are saved with the model, one a line."""
_SAMPLES = 3
_FIRST_WORD = 8
"""The id behind those of special tokens and marks."""


@dataclass(frozen=True, kw_only=True)
class TinyLM(Recipe):
    """A Llama of transformers on rows of little English, some of which are random words of which a stretch comes twice."""

    name = "tiny-lm"
    about = (
        "A small Llama that knows one little world of people, places and objects, and nothing else. It is for experiments "
        "on attention that need a whole language model on a machine without a network."
    )
    corpus = (
        "Rows of `regard.worlds.LittleEnglish`, split `train`: stories, indirect-object sentences, coloured objects, "
        "multiple choice and layouts, made up from the seed and the step. A share of the rows is `regard.worlds.Induction` "
        "over the same vocabulary: random words of which a stretch comes twice. The first steps have nothing but short rows "
        "of that kind, and half of the first layer's heads begin with looking one token back; some later steps have nothing but "
        "questions on coloured objects. Evaluated on the split `eval`, whose pairs of people and colours of objects are in no "
        "training text."
    )

    steps: int = 4400
    optimiser: AdamW = field(
        default_factory=lambda: AdamW(lr=3e-3, schedule="wsd", warmup=50, betas=(0.9, 0.95), weight_decay=0.1)
    )
    batch_size: int = 32
    layers: int = 4
    heads: int = 4
    width: int = 128
    length: int = 128
    repeated: float = 0.25
    first_steps: int = 400
    """Steps with rows of `Induction` alone: among stories, heads that copy were not learnt in any time that we had."""
    first_length: int = 32
    asked: tuple[int, int] = (3000, 3300)
    """Between these steps there are questions on coloured objects alone: among texts the answers were not learnt either."""
    looking_back: float = 3.0
    """How strongly half of the first layer's heads look one token back before training, as the amplitude of their biases.

    Without it, heads come to look three or four tokens back, as chance has it, and induction heads as far behind the token that
    they copy.
    """

    def model(self) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        language = tokenizer()
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(language),
                hidden_size=self.width,
                intermediate_size=8 * self.width // 3,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.heads,
                attention_bias=True,
                max_position_embeddings=1024,
                bos_token_id=language.bos_token_id,
                eos_token_id=language.eos_token_id,
                pad_token_id=language.pad_token_id,
            )
        )
        self._look_back(model)
        return model

    @torch.no_grad()
    def _look_back(self, model: Any) -> None:
        """Set biases so that their products, turned by rotary positions, are largest one token back."""
        attention = model.model.layers[0].self_attn
        turn = model.model.rotary_emb.inv_freq  # radians per token, of each pair of dimensions
        shape = (self.heads // 2, len(turn))
        keys = 2 * torch.pi * torch.rand(shape)
        for projection, angle in ((attention.k_proj, keys), (attention.q_proj, keys - turn)):
            bias = projection.bias.view(self.heads, -1)[: shape[0]]
            bias.copy_(self.looking_back * torch.cat([angle.cos(), angle.sin()], -1))

    def batch(self, step: int) -> Mapping[str, Tensor]:
        if step < self.first_steps:
            rows = self.batch_size * self.length // (2 * self.first_length)
            first = self._repeats(rows, self.seed, step, length=self.first_length)
            return {"input_ids": first.ids, "weights": first.scored.float()}
        if self.asked[0] <= step < self.asked[1]:
            asked = LittleEnglish().questions("coloured_objects", 2 * self.batch_size, self.seed, step)
            return {"input_ids": asked.ids, "weights": asked.scored.float()}
        repeats = round(self.repeated * self.batch_size)
        told = LittleEnglish(length=self.length).sample(self.batch_size - repeats, self.seed, step)
        repeated = self._repeats(repeats, self.seed, step)
        foretold = torch.cat([told.roles["answer"], repeated.scored])
        # Random words count as well: a head that finds nothing to copy has to learn to do nothing.
        return {
            "input_ids": torch.cat([told.ids, repeated.ids]),
            "weights": torch.ones(foretold.shape).masked_fill(foretold, ANSWER),
        }

    def loss(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        ids, weights = batch["input_ids"], batch["weights"][:, 1:]
        losses = nn.functional.cross_entropy(model(input_ids=ids).logits[:, :-1].mT, ids[:, 1:], reduction="none")
        return (losses * weights).sum() / weights.sum()

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        english = LittleEnglish("eval", length=self.length)
        told = english.sample(64, HELD_OUT)
        found = {"loss": evaluate(model, told).loss}
        for kind in QUESTIONS:
            asked = evaluate(model, english.questions(kind, 256, HELD_OUT))
            found[f"{kind}_accuracy"] = asked.accuracy
        repeats = self._repeats(64, HELD_OUT)
        found["repeated_accuracy"] = evaluate(model, repeats).accuracy
        return found | self._attention(model, told.ids[:, :SEEN])

    def tokenizer(self) -> Any:
        return tokenizer()

    def save(self, model: Any, folder: Path) -> None:
        super().save(model, folder)
        rng = generator(HELD_OUT)
        texts = [QUESTIONS[kind](rng, "eval").text for kind in QUESTIONS for _ in range(_SAMPLES)]
        (folder / SAMPLE).write_text("\n".join(texts) + "\n", encoding="utf-8")

    def _repeats(
        self, count: int, seed: int, step: int = 0, *, repeat: bool = True, length: int | None = None
    ) -> Batch:
        """Random words of which a stretch comes twice, or those of its control, in the ids of little English."""
        words, length = len(tokenizer()) - _FIRST_WORD, length or self.length
        language = Induction(length, words, (4, length // 2 - 2))
        drawn = language.sample(count, seed, step) if repeat else language.control(count, seed, step)
        return replace(drawn, ids=torch.where(drawn.ids == 0, BOS, drawn.ids + _FIRST_WORD - 1))

    def _attention(self, model: nn.Module, ids: Tensor) -> dict[str, float]:
        """Sink and induction of the heads."""
        from ...lens import attach
        from ...measure import SinkRate, SinkScore

        lens = attach(model)
        device = next(model.parameters()).device
        sinks = lens.measure({"input_ids": ids.to(device)}, [SinkRate(), SinkScore()])
        induction, control = (self._induction(lens, repeat, device) for repeat in (True, False))
        best = int(induction.argmax())
        return {
            "sink_rate": float(sinks["sink_rate"].mean.mean()),
            "sink_mass": float(sinks["sink_score"].mean.mean()),
            "largest_sink_mass": float(sinks["sink_score"].mean.max()),
            "induction_score": float(induction.flatten()[best]),
            "induction_control": float(control.flatten()[best]),
            "induction_heads": float((induction - control > INDUCTION).sum()),
        }

    def _induction(self, lens: Any, repeat: bool, device: torch.device) -> Tensor:
        """Mean weight of each head, [layer, head], on the token behind the earlier copy, or where that would be."""
        texts = self._repeats(32, HELD_OUT, repeat=repeat)
        source = texts.truth["source"]
        last = torch.cat([source[:, 1:] < 0, torch.ones_like(source[:, :1], dtype=torch.bool)], 1)
        rows, queries = ((source >= 0) & ~last).nonzero(as_tuple=True)
        x = {"input_ids": texts.ids.to(device)}
        weights = (lens.weights(x, layer).cpu() for layer in range(self.layers))
        return torch.stack([one[rows, :, queries, source[rows, queries] + 1].mean(0) for one in weights])


RECIPE = TinyLM()

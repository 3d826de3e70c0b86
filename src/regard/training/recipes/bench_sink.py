"""A bench model for sinks: a small Llama or GPT-2 on the bigram-backcopy language, with any attention design."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ...design import stored
from ...worlds.bigram_backcopy import BigramBackcopy
from ..optimiser import AdamW
from ..recipe import HELD_OUT, Recipe


@dataclass(frozen=True, kw_only=True)
class BenchSink(Recipe):
    """A model of transformers that learns when to copy the token before the last, and has nothing to attend to else.

    `positions` "rotary" is a Llama, "learned" a GPT-2. `design` is a design of `regard.design` as `stored.described` gives it,
    put into the model before training; None for the softmax attention that the model comes with.
    """

    name = "bench-sink"
    about = (
        "A small model that predicts the bigram-backcopy language. After a trigger token a head must look two tokens "
        "back; after any other token it has nothing to do, and may rest on the first token: a sink."
    )
    corpus = (
        "Texts of `regard.worlds.bigram_backcopy`, made up from the seed and the step: BOS, then a bigram chain in which "
        "a trigger is followed by the token before it. Evaluated on texts of another seed in the same language."
    )

    steps: int = 500
    optimiser: AdamW = field(default_factory=lambda: AdamW(lr=3e-3, schedule="constant", warmup=20))
    evaluate_every: int = 100
    checkpoint_every: int = 100
    batch_size: int = 32
    layers: int = 2
    heads: int = 2
    width: int = 64
    positions: Literal["rotary", "learned"] = "rotary"
    mlp: bool = True
    """False: its output is 0 and stays so, and the sink comes soon at every learning rate; with rotary positions only."""
    design: Mapping[str, Any] | None = None
    language: BigramBackcopy = field(default_factory=BigramBackcopy)

    def model(self) -> nn.Module:
        if not self.mlp and self.positions != "rotary":
            raise ValueError(f"a model without MLP has rotary positions here, not {self.positions}")
        model = self._llama() if self.positions == "rotary" else self._gpt2()
        if self.design is not None:
            stored.made(self.design).put(model)
        return model

    def save(self, model: Any, folder: Path) -> None:
        super().save(model, folder)
        if self.design is not None:
            stored.describe(model, folder)

    def load(self, folder: str | Path) -> Any:
        return super().load(folder) if self.design is None else stored.load(folder)

    def _llama(self) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=self.language.vocabulary,
                hidden_size=self.width,
                intermediate_size=3 * self.width,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.heads,
                max_position_embeddings=4 * self.language.length,
                bos_token_id=0,
                eos_token_id=None,
            )
        )
        for block in model.model.layers if not self.mlp else ():
            nn.init.zeros_(block.mlp.requires_grad_(False).down_proj.weight)
        return model

    def _gpt2(self) -> nn.Module:
        from transformers import GPT2Config, GPT2LMHeadModel

        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=self.language.vocabulary,
                n_positions=4 * self.language.length,
                n_embd=self.width,
                n_layer=self.layers,
                n_head=self.heads,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=0,
                eos_token_id=None,
                loss_type="ForCausalLM",
            )
        )

    def batch(self, step: int) -> Mapping[str, Tensor]:
        return self.language.sample(self.batch_size, self.seed, step).inputs()

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        texts = self.language.sample(128, HELD_OUT)
        device = next(model.parameters()).device
        logits = model(input_ids=texts.ids.to(device)).logits[:, :-1].float().cpu()
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), texts.ids[:, 1:], reduction="none")
        scored, copied = texts.scored[:, 1:], texts.roles["copied"][:, 1:]
        right = logits.argmax(-1) == texts.ids[:, 1:]
        return {
            "loss": losses[scored].mean().item(),
            "least_loss": texts.truth["surprise"][texts.scored].mean().item(),
            "copy_accuracy": right[copied].float().mean().item(),
        }

    def tokenizer(self) -> Any:
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from tokenizers.pre_tokenizers import WhitespaceSplit
        from transformers import PreTrainedTokenizerFast

        triggers = self.language.triggers
        words = ["<bos>", *(f"t{n}" if n <= triggers else f"s{n}" for n in range(1, self.language.vocabulary))]
        tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}))  # other words are an error
        tokenizer.pre_tokenizer = WhitespaceSplit()
        names = ["input_ids", "attention_mask"]
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", model_input_names=names)


RECIPE = BenchSink()

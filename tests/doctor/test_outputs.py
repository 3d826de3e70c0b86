"""Models whose inputs and outputs are not those of a language model: nothing they give goes uncompared."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hosts.zoo import noise
from torch import Tensor, nn

import regard
from regard.doctor import Examination, examine
from regard.lens.outputs import tensors


class Block(nn.Module):
    """Attention in the digits of `kind`, or one that notices the lens."""

    def __init__(self, kind: torch.dtype = torch.float32, knows: bool = False) -> None:
        super().__init__()
        self.num_heads, self.kind, self.knows = 2, kind, knows
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).transpose(-4, -2).unbind(-3)
        out = nn.functional.scaled_dot_product_attention(*(one.to(self.kind) for one in (q, k, v)))
        if self.knows and torch._C._len_torch_function_stack():
            out = out * 2
        return self.out(out.to(x.dtype).transpose(-3, -2).flatten(-2))


@dataclass
class Output:
    """Residuals for each block of another model."""

    residuals: list[Tensor]


class Control(nn.Module):
    """A model that gives `shape` of what its block gives."""

    def __init__(self, block: nn.Module, shape: Any) -> None:
        super().__init__()
        self.block, self.shape = block, shape

    def forward(self, hidden_states: Tensor) -> Any:
        return self.shape(self.block(hidden_states))


SHAPES = {
    "a list in a dictionary": lambda out: {"residuals": [out, out * 2]},
    "lists in a tuple": lambda out: ([out, out * 2], [out]),
    "a dataclass": lambda out: Output([out]),
}


def examined(block: nn.Module, shape: Any = lambda out: out) -> Examination:
    torch.manual_seed(0)
    return examine(regard.attach(Control(block, shape).eval(), check=False), {"hidden_states": noise(2, 5, 8)})


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_outputs_inside_others_are_compared(shape: Any) -> None:
    found = examined(Block(), shape)
    assert found.ok and "halving any of 1 sites moves the output" in found["every site is live"].sentence
    assert examined(Block(knows=True), shape)["listening changes nothing"].verdict == "failed"


def test_what_a_library_records_is_no_output() -> None:
    one = torch.ones(2)
    given = {
        "logits": one,
        "hidden_states": (one,),
        "cross_attentions": (one,),
        "deltas": (one,),
        "last_hidden_state": one,
    }
    assert len(tensors(given)) == 3


def test_an_output_that_shows_nothing_of_attention() -> None:
    found = examined(Block(), lambda out: torch.ones(2))["every site is live"]
    assert found.verdict == "failed" and "no site moves the output, with or without the lens" in found.sentence


def test_attention_in_fewer_digits_than_the_weights_have() -> None:
    found = examined(Block(torch.bfloat16))["attention is read exactly"]
    assert found.verdict == "ok" and found.deviation is not None and found.deviation > 1e-3


class Tokens(nn.Module):
    """A model of tokens that is told of no padding; ids are [batch, token], or [token] of examples in one row."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block = nn.Embedding(9, 8), Block()

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.embed(input_ids) + self.block(self.embed(input_ids))


@pytest.mark.parametrize("shape", [(2, 6), (6,), (2, 3, 4)], ids=str)
def test_tokens_that_cannot_be_padded(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ids = torch.randint(9, shape, generator=torch.Generator().manual_seed(0))
    found = examine(regard.attach(Tokens().eval(), check=False), {"input_ids": ids})
    assert found.ok, found


class Silent(Control):
    """A model whose library raises `error` when it is asked for what it records."""

    def __init__(self, error: Exception) -> None:
        super().__init__(Block(), lambda out: out)
        self.error = error

    def forward(
        self, hidden_states: Tensor, output_attentions: bool = False, output_hidden_states: bool = False
    ) -> Tensor:
        if output_attentions or output_hidden_states:
            raise self.error
        return super().forward(hidden_states)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(ValueError("not for this model"), "not applicable"), (IndexError("no such layer"), "failed")],
)
def test_a_library_that_will_not_hand_out_hidden_states(error: Exception, verdict: str) -> None:
    found = examine(regard.attach(Silent(error), check=False), {"hidden_states": noise(2, 5, 8)})
    states = found["hidden states line up"]
    assert (states.verdict, states.whose) == (verdict, "ours" if verdict == "not applicable" else "the model's")
    assert str(error) in states.sentence


def test_a_library_that_will_not_hand_out_maps() -> None:
    found = examine(regard.attach(Silent(ValueError("none")), check=False), {"hidden_states": noise(2, 5, 8)})
    assert found["the library's maps agree"].verdict == "not applicable"


def test_maps_that_are_handed_out_by_eager_attention_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).eval()
    forward = LlamaForCausalLM.forward

    def unless_eager(self: Any, *args: Any, output_attentions: bool = False, **kwargs: Any) -> Any:
        if output_attentions and self.config._attn_implementation != "eager":
            raise ValueError("eager only")
        return forward(self, *args, output_attentions=output_attentions, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", unless_eager)
    found = examine(regard.attach(model, check=False), {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6]])})
    maps = found["the library's maps agree"]
    assert maps.verdict == "ok" and "eager" in maps.sentence

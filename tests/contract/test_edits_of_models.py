"""What every edit has to keep to on models: cached decoding is recomputation, nothing is left behind, what is told is true."""

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from contract.edit_cases import CASES, Case, Ground, Own
from hosts.state import same, state
from hosts.zoo import LLAMA, MISTRAL
from torch import Tensor, nn

import regard
from regard.edit import BaseEdit, BlockKeys, Redistribute, ScaleHeads

EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
PROMPT, TOKENS = 7, 12
ROUNDING = 1e-4
"""Two ways to the same logits of 10 or so, through three layers in float32 with weights four times their usual size."""


class Tokenizer:
    """All that segments ask of one: id 2 ends a text."""

    all_special_ids = (2,)
    eos_token_id = 2


@cache
def model_of(name: str) -> nn.Module:
    return {"llama": LLAMA, "mistral": MISTRAL}[name].build()


@cache
def lens_of(name: str) -> regard.Lens:
    return regard.attach(model_of(name), Tokenizer())


def inputs() -> dict[str, Tensor]:
    """Two texts of 12 tokens, one of them with three tokens of padding on the left; every third token is the same."""
    ids = torch.randint(3, 60, (2, TOKENS), generator=torch.Generator().manual_seed(1))
    ids[:, ::3] = Tokenizer.eos_token_id
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    return {"input_ids": ids, "attention_mask": mask}


def ground(layers: int = 2, tokens: int = TOKENS) -> Ground:
    """Heads of both groups in two layers; segments of which a window of four keys never holds all."""
    pairs = tuple((layer, head) for layer in range(layers) for head in (3, 0))
    return Ground(pairs, "eos", "rest", 2, tokens, dim=8, value_dim=8)


def logits(model: Any, x: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(**x).logits
    return result


def decoded(model: Any, x: dict[str, Tensor], chunks: tuple[int, ...]) -> Tensor:
    """The logits of the same tokens, given in chunks to a cache."""
    from transformers import DynamicCache

    cache, at, found = DynamicCache(config=model.config), 0, []
    for size in chunks:
        part = {"input_ids": x["input_ids"][:, at : at + size], "attention_mask": x["attention_mask"][:, : at + size]}
        with torch.no_grad():
            found.append(model(**part, past_key_values=cache).logits)
        at += size
    return torch.cat(found, 1)


@pytest.mark.parametrize("where", ["everywhere", "since the prompt", "decode"])
@pytest.mark.parametrize("name", ["llama", "mistral"])
@EVERY
def test_cached_decoding_is_recomputation(case: Case, name: str, where: str) -> None:
    """A prompt, two tokens at once, as of an assistant, then one by one; with padding on the left and a window of four keys."""
    model, lens, x = model_of(name), lens_of(name), inputs()
    edit = case.strong(ground())
    real = x["attention_mask"].bool()
    cached = whole = edit
    if where == "since the prompt":
        cached = replace(edit, since=("prompt_end", -1))
        whole = replace(edit, since=("prompt_end", PROMPT - TOKENS - 1))  # whose prompt is all twelve tokens
    elif where == "decode":
        cached = replace(edit, phase="decode")
        whole = replace(edit, since=("prompt_end", PROMPT - TOKENS))
    with lens.edit(cached):
        steps = decoded(model, x, (PROMPT, 2, 1, 1, 1))
    with lens.edit(whole):
        expected = logits(model, x)
    torch.testing.assert_close(steps[real], expected[real], atol=ROUNDING, rtol=ROUNDING)
    assert (expected - logits(model, x))[real].abs().max() > 100 * ROUNDING


@pytest.mark.parametrize("case", [case for case in CASES if case.neutral], ids=lambda case: case.name)
def test_neutral_leaves_the_logits_bit_equal(case: Case) -> None:
    model, lens, x = model_of("llama"), lens_of("llama"), inputs()
    g = ground()
    names = [f"{kind}.{layer}" for kind in ("q", "z") for layer in range(2)]
    found = lens.cache(x, names)
    q, out = (torch.cat([found[f"{kind}.{layer}"][:, [3, 0]] for layer in range(2)], 1) for kind in ("q", "z"))
    assert case.neutral is not None
    edit = case.neutral(g, Own(q, out))
    if isinstance(edit, BlockKeys):
        edit = BlockKeys("last[0]")
        with pytest.raises(ValueError, match="changed nothing"), lens.edit(edit):
            assert torch.equal(logits(model, x), logits(lens.model, x))
        return
    plain = logits(model, x)
    with lens.edit(edit):
        assert torch.equal(logits(model, x), plain)


class Broken(regard.Entropy):
    """A statistic that fails in the middle of a pass, behind the edits."""

    def plan(self, call: Any) -> Any:
        yield {}
        raise RuntimeError("broken")


@EVERY
def test_the_model_is_itself_again(case: Case) -> None:
    """After leaving, after an error inside a pass, after an interrupt, after a handle is removed."""
    model, lens, x = model_of("llama"), lens_of("llama"), inputs()
    edit = case.strong(ground())
    plain, before = logits(model, x), state(model)
    with lens.edit(edit):
        edited = logits(model, x)
    assert not torch.equal(edited, plain)
    assert same(before, state(model)) and torch.equal(logits(model, x), plain)
    with pytest.raises(RuntimeError, match="broken"), lens.edit(edit):
        lens.measure(x, [Broken()])
    assert same(before, state(model)) and torch.equal(logits(model, x), plain)
    with pytest.raises(KeyboardInterrupt), lens.edit(edit):
        logits(model, x)
        raise KeyboardInterrupt
    assert same(before, state(model)) and torch.equal(logits(model, x), plain)
    handle = lens.install(edit)
    assert torch.equal(logits(model, x), edited)
    handle.remove()
    assert same(before, state(model)) and torch.equal(logits(model, x), plain)


@pytest.mark.parametrize(
    "narrowed",
    [{}, {"examples": (1,)}, {"queries": "last[4]"}, {"since": ("first", 5)}, {"queries": "last", "layers": (0,)}],
    ids=str,
)
@EVERY
def test_what_is_explained_is_what_changes(case: Case, narrowed: dict[str, Any]) -> None:
    """At the first layer, whose inputs are those of the unedited model: so many heads and rows, and no others."""
    lens, x = lens_of("llama"), inputs()
    g = ground(layers=1, tokens=TOKENS + 2)
    edit = replace(case.strong(g), **{"layers": (0,), **narrowed})
    (line,) = lens.explain(edit, x=x).lines
    before = lens.cache(x, ["z.0"])["z.0"]
    with lens.edit(edit):
        after = lens.cache(x, ["z.0"])["z.0"]
    changed = (after != before).any(-1)
    rows = meant(narrowed, x["attention_mask"].bool())
    assert not (changed & ~rows[:, None]).any()
    assert line.heads == int(changed.any(2).any(0).sum()) and line.rows == int(rows.any(0).sum())
    assert (line.site.layer, line.edit) == (0, repr(edit))
    assert changed.any(1).any(0)[-1]


def meant(narrowed: dict[str, Any], real: Tensor) -> Tensor:
    """Which rows are meant, [batch, query]."""
    rows, at = torch.ones_like(real), torch.arange(TOKENS)
    if "examples" in narrowed:
        rows[0] = False
    if "queries" in narrowed:
        rows = rows & (at >= TOKENS - {"last[4]": 4, "last": 1}[narrowed["queries"]])
    if "since" in narrowed:
        rows = rows & (at >= real.int().argmax(-1, keepdim=True) + 6)
    return rows


@pytest.mark.parametrize(
    "edit",
    [
        ScaleHeads([(9, 0)], 0.5),
        ScaleHeads([(0, 0)], 0.5, phase="decode"),
        ScaleHeads([(0, 0)], 0.5, since=("first", 40)),
        ScaleHeads([(0, 0)], 0.5, part="vision"),
        ScaleHeads([(0, 0)], 0.5, role="cross"),
        BlockKeys("last[0]"),
        Redistribute("first", "last[0]"),
        Redistribute("last[0]", "first"),
        regard.BiasKeys("last[0]", 1.0),
        regard.ScaleSegments({"last[0]": 0.5}),
        regard.PatchHeads([(0, 1)], torch.zeros(1, 1, 3, 8), since=("prompt_end", -1)),
    ],
    ids=repr,
)
def test_an_edit_that_meets_nothing_says_so(edit: BaseEdit) -> None:
    """A layer, a phase, a row, a part, a role, a segment, a value that is not there; the model's output is its own."""
    model, lens, x = model_of("llama"), lens_of("llama"), inputs()
    plain = logits(model, x)
    with pytest.raises(ValueError, match="changed nothing"), lens.edit(edit):
        assert torch.equal(logits(model, x), plain)
    assert not lens.explain(edit, x=x).lines
    with lens.edit(edit):
        pass  # a model that did not run says nothing


def test_an_edit_that_cannot_fit_is_refused() -> None:
    model, lens, x = model_of("llama"), lens_of("llama"), inputs()
    for edit, reason in [
        (ScaleHeads([(0, 4)], 0.5), "heads 0 to 3, and the edit names head 4 of layer 0"),
        (ScaleHeads([(0, 0)], 0.5, examples=[2]), "names example 2, and the batch has 2"),
        (regard.ResampleHeads([(0, 0)], [0]), "do not name an example for each of 2"),
        (regard.PatchHeads([(0, 0)], torch.zeros(3, 1, 5, 8)), "values for 3 examples do not fit the 2 of a batch"),
        (regard.ScaleKeys(torch.ones(3, 5)), "values for 3 examples do not fit the 2 of a batch"),
        (Redistribute("first", "image"), "image"),
    ]:
        with pytest.raises((ValueError, IndexError, KeyError), match=reason), lens.edit(edit):
            model(**x)
    for make, reason in [
        (
            lambda: regard.MeanHeads([(0, 0)], torch.zeros(2, 8)),
            r"expected \[pair, value_dim\] with 1 .*found \[2, 8\]",
        ),
        (lambda: regard.PatchHeads([(0, 0)], torch.zeros(1, 5, 8)), r"\[batch or 1, pair, token or 1, value_dim\]"),
        (lambda: regard.PatchQueries([(0, 0)], torch.zeros(1, 2, 5, 8)), r"found \[1, 2, 5, 8\]"),
        (lambda: regard.PatchWeights([(0, 0)], torch.zeros(1, 5, 5)), r"\[batch or 1, pair, query, key\]"),
        (lambda: regard.ScaleKeys(torch.zeros(1, 1, 5)), r"\[key\] or \[batch, key\]"),
        (lambda: regard.Interpolate("diagonal", 0.5), "identity or uniform, not 'diagonal'"),
        (lambda: regard.BiasKeys.by_factor("first", -1.0), "0 or more, not -1"),
        (lambda: regard.Redistribute("first", "rest", 1.5), "between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=reason):
            make()


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}, {}], ids=str)
def test_an_example_is_one_with_all_its_beams(options: dict[str, Any]) -> None:
    """What is done to the second example alone is what would be done to it without the first."""
    model, lens, x = model_of("llama"), lens_of("llama"), inputs()
    length = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    several = options.get("num_return_sequences", 1)
    factors = torch.ones(2, x["input_ids"].shape[1])
    factors[1, 4:] = 3.0
    for edit in (ScaleHeads([(0, 0), (1, 3)], -2.0, examples=[1]), regard.ScaleKeys(factors)):
        plain = model.generate(**x, **length, **options)
        with lens.edit(edit):
            got = model.generate(**x, **length, **options)
        assert torch.equal(got[:several], plain[:several])
        one = {name: value[1:] for name, value in x.items()}
        alone = replace(edit, examples=None) if isinstance(edit, ScaleHeads) else regard.ScaleKeys(factors[1:])
        with lens.edit(alone):
            expected = model.generate(**one, **length, **options)
        assert torch.equal(got[several:], expected)


def test_an_edit_is_told_of_tokens_that_a_run_takes_back() -> None:
    model, lens, x = model_of("llama"), lens_of("llama"), inputs()
    told: list[int] = []

    class Listening(ScaleHeads):
        def crop(self, state: dict[str, Any], tokens: int) -> None:
            told.append(tokens)

    edit = Listening([(0, 0)], 0.5)
    BaseEdit.kinds.pop("Listening", None)
    torch.manual_seed(7)
    assistant = type(model)(copy.deepcopy(model.config)).eval()
    with lens.edit(edit):
        model.generate(
            **{name: value[:1] for name, value in x.items()}, max_new_tokens=6, do_sample=False, pad_token_id=0,
            assistant_model=assistant,
        )  # fmt: skip
    assert told and all(tokens >= x["input_ids"].shape[1] for tokens in told)

"""The claims of capability ceilings: equations are exact, donors differ in what they are said to, a family is scored."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import regard.papers.capability_ceilings as paper
from regard.papers.cards import Figure, Measured, Setting
from regard.training import fit


def test_equations_are_exact() -> None:
    tolerance = {claim.name: claim.tolerance for claim in paper.CLAIMS}
    found = dict(paper.replayed())
    assert set(found) == {"OPT", "Pythia", "Llama, grouped heads", "GPT-2"}
    assert max(found.values()) <= tolerance["replay"] and abs(paper.letters_only()) <= tolerance["letters"]


def test_a_later_checkpoint_is_the_same_run_and_another_seed_is_not() -> None:
    first = replace(paper.recipe(3, quick=True), steps=5, batch_size=4)
    weights = []
    for recipe, steps in ((first, 5), (replace(paper.recipe(3, quick=True, longer=1.2), batch_size=4), 5)):
        torch.manual_seed(recipe.seed)
        model = recipe.model()
        fit(model, recipe.batch, steps, loss=recipe.loss, optimiser=recipe.optimiser, seed=recipe.seed)
        weights.append(torch.cat([one.flatten() for one in model.parameters()]))
    assert torch.equal(*weights)
    assert paper.recipe(3, False, 1.2).steps == 600 and paper.recipe(3, False).optimiser.schedule == "constant"


def write_family(folder: Path) -> str:
    """Two random models with a tokenizer, and items."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = ["?", "A", "B", "C", "D", ".", ":", "Answer", "Which", "red", "blue", "green", "black"]
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    names = []
    for width in (16, 32):
        torch.manual_seed(width)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_embd=width, n_layer=1, n_head=2, n_positions=64))
        path = folder / f"wide-{width}"
        model.save_pretrained(path)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(path)
        names.append(str(path))
    items = [
        {"question": "Which one ?", "options": ["red", "blue", "green", "black"], "answer": n % 4} for n in range(6)
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    return ",".join(names)


def test_a_family_is_scored_and_its_slopes_are_fitted(tmp_path: Path) -> None:
    family = write_family(tmp_path)
    assert paper.CARD.check is not None
    with pytest.raises(ValueError, match="give --data a file"):
        list(paper.CARD.check(Setting(seeds=(0,), model=family)))
    found = list(paper.CARD.check(Setting(seeds=(0,), model=family, data=str(tmp_path / "items.jsonl"))))
    figures = {one.name: one for one in found if isinstance(one, Figure)}
    assert [row[0] for row in figures["family"].rows] == family.split(",")
    assert all(len(row) == len(figures["family"].columns) for row in figures["family"].rows)
    assert figures["slopes"].rows[0][0] == "right"
    (measured,) = [one for one in found if isinstance(one, Measured)]
    assert measured.claim == "ceiling" and -1 <= measured.value <= 1

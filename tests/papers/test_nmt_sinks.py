"""The claims on sinks of translation: their equations can fail, tokens are moved as they say, and a user's model is measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import M2M100Config, M2M100ForConditionalGeneration, PreTrainedTokenizerFast

from regard.lens.cross_maps import teacher_forced
from regard.papers import nmt_sinks as paper
from regard.papers.cards import Deviation, Figure, Measured, Setting
from regard.papers.nmt_sinks import BENCH, CARD, CONTENT, EOS, TAG, _equations, classes_of, look, moved
from regard.training.recipes.bench_translation import BenchTranslation, told

BY_NAME = {claim.name: claim for claim in CARD.claims}


def test_the_equations_are_exact_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(_equations())
    assert all(abs(one.value) <= BY_NAME[one.claim].tolerance for one in found)
    assert {one.claim for one in found} == {claim.name for claim in CARD.claims if claim.equation}
    monkeypatch.setattr(paper, "teacher_forced", lambda lens, x, ids, pad: teacher_forced(lens, x, ids.roll(1, 1), pad))
    monkeypatch.setattr(paper, "spike_flatness", lambda share, tokens: share)
    monkeypatch.setattr(paper, "content_only", lambda rows, classes: rows.double())
    broken = {one.claim for one in _equations() if abs(one.value) > BY_NAME[one.claim].tolerance}
    assert broken == {"spike", "modes-exact"}


def test_each_claim_is_measured_once_a_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    class Tiny(BenchTranslation):
        """One of a few steps on few words."""

        def __init__(self, **given: Any) -> None:
            super().__init__(**{**given, "steps": 2, "width": 16, "heads": 2, "batch_size": 4})

    monkeypatch.setattr(paper, "BenchTranslation", Tiny)
    found = list(paper.check(Setting(seeds=(3,), quick=True)))
    rows = [one for one in found if isinstance(one, Measured)]
    assert sorted(one.claim for one in rows) == sorted(claim.name for claim in CARD.claims if claim.bench)
    assert {one.model for one in rows} == {BENCH} and any(isinstance(one, Deviation) for one in found)
    (figure,) = (one for one in found if isinstance(one, Figure))
    assert [row[0] for row in figure.rows] == ["last", "first", "none"]
    assert all(len(row) == len(figure.columns) for row in figure.rows)


def test_the_marker_is_moved_and_nothing_is_lost() -> None:
    pairs = BenchTranslation().language.sample(40, 0)
    given, places = moved(pairs, 0)
    for row, place in enumerate(places.tolist()):
        length = int(pairs.source.valid[row].sum())
        own, new = pairs.source.ids[row, :length].tolist(), given["input_ids"][row, :length].tolist()
        assert new[place] == 1 and 1 <= place < length - 1 and new[-1] != 1
        assert [token for token in new if token != 1] == own[:-1] and new[0] == own[0]
    assert len(set(places.tolist())) > 3


def test_numbers_of_a_seen_model_are_sums_over_its_maps() -> None:
    torch.manual_seed(0)
    recipe = BenchTranslation(width=16, heads=2)
    model = recipe.model().eval()
    pairs = recipe.language.sample(6, 0)
    seen = look(model, pairs)
    classes = classes_of(pairs)
    assert bool(((classes == CONTENT) == pairs.source.roles["word"]).all())
    mass: list[float] = []
    for text, step in (pairs.target.roles["filler"][:, 1:]).nonzero().tolist():
        row = seen.maps.weights[text, :, :, step].mean((0, 1))
        mass.append(1 - float(row[pairs.source.roles["word"][text]].sum()))
    assert seen.off_words("filler") == pytest.approx(sum(mass) / len(mass), abs=1e-6)
    eos, tag, words = seen.row[:3]
    assert eos + tag + words == pytest.approx(1.0, abs=1e-5) and (EOS, TAG) == (1, 2)
    with torch.no_grad():
        inputs = pairs.inputs()
        said = model(**inputs).logits.argmax(-1)
    spoken = (pairs.target.roles["word"] | pairs.target.roles["filler"])[:, 1:]
    assert told(model, pairs) == pytest.approx(float((said == inputs["labels"])[spoken].float().mean()))


def test_a_users_model_is_measured_on_pairs(tmp_path: Path) -> None:
    words = ["<pad>", "</s>", "<s>", "<unk>", "en", "de", "a", "cat", "sat", ",", "eine", "katze"]
    made = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    made.post_processor = TemplateProcessing(single="en $A </s>", special_tokens=[("en", 4), ("</s>", 1)])
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", bos_token="<s>", unk_token="<unk>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["en", "de"]})
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=12, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=0, bos_token_id=2, eos_token_id=1, decoder_start_token_id=1,
        max_position_embeddings=64, init_std=0.5,
    )  # fmt: skip
    M2M100ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert CARD.check is not None
    setting = Setting(seeds=(0,), model=str(tmp_path))
    with pytest.raises(ValueError, match="give --data a file of pairs"):
        list(CARD.check(setting))
    file = tmp_path / "pairs.jsonl"
    pairs = [
        {"source": "a cat sat , a cat", "target": "eine katze"},
        {"source": "cat sat", "target": "katze", "target_language": "de"},
    ]
    file.write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    found = list(CARD.check(replace(setting, data=str(file))))
    rows = {one.claim: one for one in found if isinstance(one, Measured)}
    assert rows.keys() == {"off-words", "similarity", "modes"}
    (figure,) = (one for one in found if isinstance(one, Figure))
    mass = {str(name): float(value) for name, value in figure.rows}
    assert sum(mass.values()) == pytest.approx(1.0, abs=1e-5) and mass["tag"] > 0 and mass["punctuation"] > 0
    assert rows["off-words"].value == pytest.approx(1 - mass["content"])
    assert rows["off-words"].controls["tokens"] == pytest.approx((3 / 8 + 2 / 4) / 2)

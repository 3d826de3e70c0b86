"""Translations with known alignment."""

import pytest
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration

from regard.worlds import Parallel


@pytest.mark.parametrize("end", ["last", "first", "none"])
@pytest.mark.parametrize("filler", [True, False])
def test_a_target_is_the_source_word_by_word(end: str, filler: bool) -> None:
    language = Parallel(end=end, filler=filler)
    pairs = language.sample(90, 0)
    chosen = pairs.target.truth["language"].tolist()
    assert set(chosen) == {0, 1, 2}
    for row, order in enumerate(chosen):
        source = pairs.source.ids[row][pairs.source.roles["word"][row]].tolist()
        number = [token - int(language.word(0, 0)) for token in source]
        said = [int(language.word(1 + order, language.dictionary[order][n])) for n in number]
        swapped = [word for i in range(0, len(said), 2) for word in said[i : i + 2][::-1]]
        said = {"same": said, "reversed": said[::-1], "swapped": swapped}[language.orders[order]]
        target = pairs.target.ids[row][pairs.target.valid[row]].tolist()
        expected = [
            word for i, word in enumerate(said) for word in [word] + [2 + 4 + 1 + order] * (filler and i % 2 == 1)
        ]
        assert target == [1, 3 + order, *expected, 1]


@pytest.mark.parametrize("end", ["last", "first", "none"])
def test_alignment_leads_from_word_to_word(end: str) -> None:
    language = Parallel(end=end)
    pairs = language.sample(60, 1)
    row, target, source = pairs.alignment.nonzero(as_tuple=True)
    assert pairs.target.roles["word"][row, target].all() and pairs.source.roles["word"][row, source].all()
    assert torch.equal(pairs.alignment.sum(2) == 1, pairs.target.roles["word"])
    assert torch.equal(pairs.alignment.sum(1) == 1, pairs.source.roles["word"])
    number = (pairs.source.ids[row, source] - int(language.word(0, 0))).numpy()
    order = pairs.target.truth["language"][row].numpy()
    said = language.word(1 + order, language.dictionary[order, number])
    assert (pairs.target.ids[row, target].numpy() == said).all()


def test_the_end_lies_where_it_is_put() -> None:
    first, last = Parallel(end="first").sample(9, 0).source, Parallel().sample(9, 0).source
    assert first.roles["eos"][:, 0].all() and last.roles["tag"][:, 0].all()
    assert torch.equal(first.roles["tag"].int().argmax(1), last.roles["eos"].int().argmax(1))
    assert not Parallel(end="none").sample(9, 0).source.roles["eos"].any()


def test_roles_name_all_tokens_once() -> None:
    for batch in (Parallel().sample(9, 0).source, Parallel().sample(9, 0).target):
        assert torch.equal(torch.stack(list(batch.roles.values())).sum(0) == 1, batch.valid)


def test_a_translation_model_takes_the_inputs() -> None:
    language = Parallel()
    model = M2M100ForConditionalGeneration(
        M2M100Config(
            vocab_size=language.vocabulary,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
            decoder_start_token_id=1,
        )
    ).eval()
    pairs = language.sample(4, 0)
    inputs = pairs.inputs()
    out = model(**inputs)
    assert out.logits.shape[:2] == inputs["labels"].shape and out.loss.isfinite()
    assert (inputs["labels"] >= 0).sum() == pairs.target.scored.sum()


@pytest.mark.parametrize("wrong", [{"orders": ("up",)}, {"orders": ()}, {"lengths": (3, 2)}, {"end": "middle"}])
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"order|range"):
        Parallel(**wrong)

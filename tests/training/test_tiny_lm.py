"""The shipped language model before training: its rows, their weights in the loss, its first heads, and what is saved."""

from pathlib import Path

import torch

from regard.lens import attach
from regard.training import build
from regard.training.recipes.tiny_lm import ANSWER, RECIPE, TinyLM
from regard.worlds import LittleEnglish
from regard.worlds.little_english import tokenizer
from regard.worlds.little_english.tokenizer import BOS


def test_the_first_rows_are_repetitions_alone_of_which_the_second_copy_is_learnt() -> None:
    batch = RECIPE.batch(RECIPE.first_steps - 1)
    ids, weights = batch["input_ids"], batch["weights"]
    assert ids.shape == (64, 32) and bool((ids[:, 0] == BOS).all()) and set(weights.unique().tolist()) == {0.0, 1.0}
    for row, learnt in zip(ids.tolist(), weights.tolist(), strict=True):
        places = [place for place, weight in enumerate(learnt) if weight]
        assert places == list(range(places[0], places[-1] + 1)) and places
        assert all(row[place] in row[:place] for place in places)
        assert len(set(row[: places[0] - 1])) == places[0] - 1


def test_later_rows_are_texts_and_repetitions_and_answers_weigh_more() -> None:
    batch = RECIPE.batch(RECIPE.first_steps)
    assert batch["input_ids"].shape == batch["weights"].shape == (32, 128)
    told = LittleEnglish().sample(24, 0, RECIPE.first_steps)
    assert torch.equal(batch["input_ids"][:24], told.ids)
    assert torch.equal(batch["weights"][:24] == ANSWER, told.roles["answer"])
    assert bool((batch["weights"][24:] == ANSWER).any(1).all()) and set(batch["weights"].unique().tolist()) == {
        1,
        ANSWER,
    }


def test_some_steps_ask_for_colours_alone_and_learn_the_answers_alone() -> None:
    batch = RECIPE.batch(RECIPE.asked[0])
    texts = tokenizer().batch_decode(batch["input_ids"])
    assert all("What colour is the" in text for text in texts) and len(texts) == 64
    assert bool((batch["weights"].sum(1) == 1).all()) and not bool(batch["weights"][:, 0].any())
    assert RECIPE.batch(RECIPE.asked[1])["input_ids"].shape == (32, 128)


def test_the_loss_is_weighted_and_leaves_the_first_token_out() -> None:
    torch.manual_seed(0)
    model = TinyLM(layers=1, width=32, heads=2).model().eval()
    ids, weights = torch.randint(8, 200, (2, 5)), torch.tensor([[9.0, 1, 0, 0, 0], [9.0, 0, 0, 3, 0]])
    losses = -model(input_ids=ids).logits.log_softmax(-1)
    expected = (losses[0, 0, ids[0, 1]] + 3 * losses[1, 2, ids[1, 3]]) / 4
    torch.testing.assert_close(RECIPE.loss(model, {"input_ids": ids, "weights": weights}), expected)


def test_half_of_the_first_heads_look_one_token_back_before_training() -> None:
    torch.manual_seed(0)
    weights = attach(RECIPE.model().eval(), check=False).weights({"input_ids": RECIPE.batch(0)["input_ids"]}, 0)
    back = weights.diagonal(-1, dim1=-2, dim2=-1)[..., 8:].mean((0, 2))
    behind = weights.diagonal(-3, dim1=-2, dim2=-1)[..., 8:].mean((0, 2))
    assert bool((back[:2] > 0.5).all() and (back[2:] < 0.1).all() and (behind < 0.1).all())


def test_texts_are_saved_with_it(tmp_path: Path) -> None:
    recipe = TinyLM(steps=1, layers=1, heads=2, width=16)
    folder = build(recipe, tmp_path / "m")
    texts = (folder / "sample.txt").read_text(encoding="utf-8").splitlines()
    unknown = tokenizer().unk_token_id
    assert len(texts) == 15 and all(unknown not in tokenizer()(text).input_ids for text in texts)

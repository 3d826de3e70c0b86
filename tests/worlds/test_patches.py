"""Patches with colours that the language expects, or not."""

import pytest
import torch

from regard.worlds import Patches, Patchwork

LANGUAGE = Patches(without_image=0.0)
MANY = LANGUAGE.sample(4000, 0)


def right(made: Patchwork) -> float:
    """Accuracy of the most probable colour."""
    truth = made.texts.truth
    return (truth["posterior"].argmax(1) + 11 == truth["answer"]).float().mean().item()


def test_the_asked_patch_shows_type_and_colour() -> None:
    clear = Patches(noise=0.0, colour_noise=1e-6).sample(50, 0, image=True)
    patch = clear.patches[clear.texts.roles["asked"][:, 1:10]]
    query = clear.texts.ids[clear.texts.roles["query"]]
    assert torch.equal(patch[:, :7].argmax(1) + 4, query)
    assert torch.equal(patch[:, 7:14].argmax(1) + 11, clear.texts.truth["answer"])
    background = clear.patches[clear.texts.roles["background"][:, 1:10]]
    assert len(background) == 50 * 6 and background.abs().max() < 1e-4
    types = clear.patches[clear.texts.roles["object"][:, 1:10]].view(50, 3, -1)[..., :7].argmax(2).sort(1).values
    assert (types.diff(dim=1) > 0).all()


def test_colours_are_expected_as_often_as_said() -> None:
    for colours, share, error in (("language", 0.8, 0.032), ("contrary", 0.0, 0.0), ("consistent", 1.0, 0.0)):
        truth = LANGUAGE.sample(4000, 1, colours=colours).texts.truth
        assert (truth["answer"] == truth["expected"]).float().mean() == pytest.approx(share, abs=error)


def test_the_posterior_is_calibrated() -> None:
    truth = MANY.texts.truth
    p = truth["posterior"]
    assert torch.allclose(p.sum(1), torch.ones(4000, dtype=p.dtype))
    entropy = -(p * p.clamp(min=1e-30).log()).sum(1)
    surprise = truth["surprise"][:, -1].double()
    difference = surprise - entropy  # its mean is 0 if the posterior is right
    assert abs(difference.mean()) < 4 * difference.std() / 4000**0.5 < 0.05
    best = p.max(1).values
    assert abs(right(MANY) - best.mean()) < 4 * (best * (1 - best)).mean().sqrt() / 4000**0.5
    blind = Patches(prior=1 / 7, without_image=0.0).sample(4000, 0)
    assert right(blind) < right(MANY) - 0.05  # knowing what to expect helps


def test_who_expects_is_misled() -> None:
    contrary, consistent = (right(LANGUAGE.sample(3000, 2, colours=colours)) for colours in ("contrary", "consistent"))
    assert contrary < consistent - 0.15 and consistent > 0.95


def test_without_image_only_the_prior_is_left() -> None:
    made = Patches().sample(500, 0, image=False)
    assert made.patches.shape == (500, 0, 15) and not made.texts.roles["image"].any()
    assert made.texts.ids.shape[1] == 5
    truth = made.texts.truth
    assert truth["posterior"].max(1).values.numpy() == pytest.approx(0.8)
    assert torch.equal(truth["posterior"].argmax(1) + 11, truth["expected"])
    drawn = [Patches().sample(1, 0, step).patches.shape[1] == 0 for step in range(400)]
    assert sum(drawn) / 400 == pytest.approx(0.2, abs=0.1)


def test_sinks_are_constant() -> None:
    made = Patches(sinks=4).sample(30, 0, image=True)
    sink = made.texts.roles["sink"]
    assert sink.sum(1).unique().tolist() == [4] and made.patches.shape[1] == 13
    assert len(made.patches[sink[:, 1:14]].unique(dim=0)) == 1
    assert not (sink & made.texts.roles["background"]).any()


def test_distractors_say_what_is_expected() -> None:
    language = Patches(distractors=(16, 16))
    made = language.sample(30, 0, image=True)
    told = made.texts.ids[made.texts.roles["distractor"]].view(30, 16, 2)
    assert (torch.from_numpy(language.expected)[told[..., 0] - 4] + 11 == told[..., 1]).all()
    lengths = {Patches(distractors=(0, 4)).sample(1, 0, step, image=True).texts.ids.shape[1] for step in range(60)}
    assert lengths == {14, 16, 18, 20, 22}


def test_roles_name_all_tokens() -> None:
    roles = dict(Patches(sinks=2, distractors=(1, 3)).sample(20, 0, image=True).texts.roles)
    objects, image, asked = roles.pop("object"), roles.pop("image"), roles.pop("asked")
    assert torch.equal(image, objects | roles["background"] | roles["sink"]) and not (asked & ~objects).any()
    assert torch.stack([objects, *roles.values()]).sum(0).unique().tolist() == [1]


@pytest.mark.parametrize(
    "wrong", [{"types": 2}, {"prior": 1.2}, {"without_image": -0.1}, {"distractors": (3, 2)}, {"colour_noise": 0.0}]
)
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"types|probability|range"):
        Patches(**wrong)

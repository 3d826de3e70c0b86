"""The bigram language with triggers."""

import numpy as np
import pytest
import torch

from regard.worlds import Batch, BigramBackcopy, score


def ideal(language: BigramBackcopy, batch: Batch) -> torch.Tensor:
    """Logits of a model that knows the language: its rows, and what to copy behind a trigger."""
    logs = torch.full((*batch.ids.shape, language.vocabulary), -torch.inf)
    rows = torch.from_numpy(language.transitions).log().float()
    place = torch.arange(len(batch))
    for t in range(batch.ids.shape[1] - 1):
        # Behind BOS and before it, the chain goes on as if it were not there.
        seen = batch.ids[:, : t + 1]
        if language.bos is not None and t >= language.bos:
            seen = seen[:, [i for i in range(t + 1) if i != language.bos]]
        if seen.shape[1] == 0:
            logs[:, t] = 0.0
            continue
        logs[:, t, 1:] = rows[seen[:, -1] - 1]
        after = batch.ids[place, t + 1] == 0
        trigger = (seen[:, -1] <= language.triggers) & ~after
        copy = seen[:, -2] if seen.shape[1] > 1 else seen[:, -1]
        logs[trigger, t] = -torch.inf
        logs[place[trigger], t, copy[trigger]] = 0.0
    return logs


@pytest.mark.parametrize("bos", [0, 2, None])
def test_a_model_that_knows_the_language_reaches_the_floor(bos: int | None) -> None:
    language = BigramBackcopy(bos=bos, language=3)
    batch = language.sample(64, 0)
    judged = score(ideal(language, batch), batch)
    assert judged.floor == pytest.approx(judged.loss, abs=1e-4)
    copies = Batch(batch.ids, batch.roles["copied"], batch.valid)
    assert score(ideal(language, batch), copies).accuracy == 1.0


def test_the_floor_is_the_entropy_of_the_language() -> None:
    language = BigramBackcopy(length=257, language=1)
    surprise = language.sample(400, 0).truth["surprise"][:, 2:]  # behind the start
    texts = surprise.mean(1).double()
    error = texts.std() / len(texts) ** 0.5
    assert abs(texts.mean() - language.entropy) < 4 * error < 0.05
    assert 0.5 < language.entropy < np.log(31)


def test_the_start_is_stationary() -> None:
    language = BigramBackcopy(language=2)
    plain = language.transitions.copy()
    plain[:, :3] = 0.0
    back = np.diag(language.transitions[:, :3].sum(1))
    assert language.start.sum() == pytest.approx(1.0) and language.start.min() >= 0
    assert language.start @ (plain + back) == pytest.approx(language.start, abs=1e-12)


@pytest.mark.parametrize("bos", [0, 2, 31, None])
def test_bos_lies_where_it_is_put(bos: int | None) -> None:
    batch = BigramBackcopy(bos=bos).sample(16, 0)
    assert batch.roles["bos"].sum() == (0 if bos is None else 16)
    assert bos is None or batch.roles["bos"][:, bos].all()
    assert batch.scored.sum(1).unique().tolist() == [31 if bos is None else 30]


def test_triggers_come_and_never_two_in_a_row() -> None:
    batch = BigramBackcopy(length=128).sample(64, 0)
    trigger = batch.roles["trigger"]
    assert 0.02 < trigger.float().mean() < 0.3
    assert not (trigger[:, 1:] & trigger[:, :-1]).any()
    assert torch.equal(batch.roles["copied"][:, 1:], trigger[:, :-1])


def test_languages_differ_and_samples_of_one_do_not() -> None:
    assert not np.allclose(BigramBackcopy(language=0).transitions, BigramBackcopy(language=1).transitions)
    one, other = (BigramBackcopy(length=512).sample(64, seed).ids.flatten().bincount(minlength=32) for seed in (0, 1))
    assert (one / one.sum() - other / other.sum()).abs().max() < 0.02


@pytest.mark.parametrize("wrong", [{"triggers": 0}, {"triggers": 31}, {"bos": 32}, {"length": 1}])
def test_what_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"trigger|BOS"):
        BigramBackcopy(**wrong)

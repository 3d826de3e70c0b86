"""Pairs and chains."""

import pytest
import torch

from regard.worlds import Lookup


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_the_answer_is_at_the_end_of_the_chain(hops: int) -> None:
    language = Lookup(chains=5, hops=hops)
    batch = language.sample(50, 0)
    assert batch.ids.shape[1] == 1 + 2 * 5 * hops + 3
    known = (batch.truth[name].tolist() for name in ("answer", "path", "wrong"))
    for ids, answer, path, wrong in zip(batch.ids.tolist(), *known, strict=True):
        pairs = dict(zip(ids[1:-3:2], ids[2:-3:2], strict=True))
        at = ids[-2]
        for place in path:
            at = pairs[at]
            assert ids[place] == at
        assert at == answer == ids[-1]
        ends = {value for value in pairs.values() if value not in pairs}
        assert ends == {answer, *wrong}


def test_no_place_tells_the_answer() -> None:
    batch = Lookup(chains=6).sample(6000, 0)
    counts = batch.truth["path"][:, 0].bincount(minlength=13)[2:13:2]
    assert (counts - 1000).abs().max() < 5 * (1000 * 5 / 6) ** 0.5


def test_roles_name_all_tokens_once() -> None:
    roles = Lookup(chains=3, hops=2).sample(4, 0).roles
    assert torch.stack(list(roles.values())).sum(0).unique().tolist() == [1]


@pytest.mark.parametrize("wrong", [{"chains": 1}, {"hops": 0}, {"chains": 33}])
def test_what_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="chains"):
        Lookup(**wrong)

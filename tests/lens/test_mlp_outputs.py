"""Changes of what feed-forward layers write: at the tokens they name, with padding and a cache, and nowhere else."""

from typing import Any

import pytest
import torch

import regard
from regard.lens.mlp_outputs import add_to_token, mlp_changed, shrink_along

from .test_sink_atlas import WIDTH, gpt2, llama


def model_of(make: Any) -> Any:
    torch.manual_seed(0)
    return make().eval()


def inputs(length: int = 9) -> dict[str, torch.Tensor]:
    ids = torch.randint(2, 60, (2, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("make", [llama, gpt2], ids=lambda make: make.__name__)
def test_a_vector_is_added_at_one_position_of_each_example(make: Any) -> None:
    lens, x, vector = regard.attach(model_of(make)), inputs(), torch.randn(WIDTH)
    before = lens.cache(x, ["mlp_out.2"])["mlp_out.2"]
    with mlp_changed(lens, 2, add_to_token(vector, 4), x):
        after = lens.cache(x, ["mlp_out.2"])["mlp_out.2"]
        # a hook that was set first sees what was there before: look at the block's output as well
        stream = lens.cache(x, ["resid_post.2"])["resid_post.2"]
    plain = lens.cache(x, ["resid_post.2"])["resid_post.2"]
    moved = (stream - plain).abs().amax(-1) > 1e-6
    assert moved.nonzero().tolist() == [[0, 4], [1, 7]]  # the second example is padded by 3
    torch.testing.assert_close(stream[0, 4] - plain[0, 4], vector, atol=1e-4, rtol=1e-4)
    assert after.shape == before.shape


def test_only_outputs_along_the_direction_get_the_norm_and_the_first_are_spared() -> None:
    u = torch.nn.functional.normalize(torch.randn(WIDTH), dim=0)
    y = torch.randn(2, 6, WIDTH)
    y -= (y @ u)[..., None] * u
    y[:, [1, 4]] = 50.0 * u
    y[:, 5] = -50.0 * u
    positions = torch.arange(6).expand(2, -1) - torch.tensor([[0], [2]])  # the second example is padded
    found = shrink_along(3.0 * u, norm=2.0)(y, positions)
    expected = y.clone()
    expected[0, 4] = 2.0 * u
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(shrink_along(u, 2.0, spared=1)(y, positions)[1, 4], 2.0 * u)
    with pytest.raises(ValueError, match="0 or more"):
        shrink_along(u, -1.0)


def test_decoding_is_changed_as_a_whole_pass_is() -> None:
    model = model_of(llama)
    lens, x = regard.attach(model), inputs(6)
    change = add_to_token(5 * torch.randn(WIDTH), 7)  # of what is generated
    with mlp_changed(lens, 2, change, x), torch.no_grad():
        out = model.generate(
            **x, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True, pad_token_id=0
        )
        mask = torch.nn.functional.pad(x["attention_mask"], (0, 5), value=1)
        whole = model(input_ids=out.sequences[:, :-1], attention_mask=mask).logits
    torch.testing.assert_close(torch.stack(out.logits, 1), whole[:, -6:], atol=1e-3, rtol=1e-3)
    plain = model.generate(
        **x, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True, pad_token_id=0
    )
    assert (torch.stack(plain.logits, 1)[0] - torch.stack(out.logits, 1)[0]).abs().amax(-1)[0] < 1e-5
    assert (torch.stack(plain.logits, 1) - torch.stack(out.logits, 1)).abs().max() > 1e-2


def test_the_model_is_itself_again_and_a_layer_that_is_not_there_is_refused() -> None:
    model = model_of(llama)
    lens, x = regard.attach(model), inputs()
    before = model(**x).logits
    with pytest.raises(RuntimeError, match="stop"), mlp_changed(lens, 1, lambda y, positions: 2 * y, x):
        assert not torch.equal(model(**x).logits, before)
        raise RuntimeError("stop")
    assert torch.equal(model(**x).logits, before)
    with pytest.raises(ValueError, match="no layer 9"), mlp_changed(lens, 9, lambda y, positions: y, x):
        pass

"""The order of text and image in joint attention, held to real classes: what moves with the text is the text."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard.core.call import Call
from regard.hosts import Tap
from regard.segments import LAYOUTS, JointSegments

TEXT = 7
OF_TEXT = ("context_embedder", "time_embed")
"""Where modules begin that attend over the text alone."""
Inputs = dict[str, Any]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def flux() -> tuple[nn.Module, Inputs]:
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel(
        in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 16, 4), "encoder_hidden_states": noise(1, TEXT, 32), "timestep": torch.tensor([1.0]),
        "pooled_projections": noise(1, 32), "img_ids": torch.zeros(16, 3), "txt_ids": torch.zeros(TEXT, 3),
    }  # fmt: skip


def chroma() -> tuple[nn.Module, Inputs]:
    from diffusers import ChromaTransformer2DModel

    model = ChromaTransformer2DModel(
        in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(4, 4, 8), approximator_num_channels=8, approximator_hidden_dim=16,
        approximator_layers=1,
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 16, 4), "encoder_hidden_states": noise(1, TEXT, 32), "timestep": torch.tensor([1.0]),
        "img_ids": torch.zeros(16, 3), "txt_ids": torch.zeros(TEXT, 3),
    }  # fmt: skip


def sd3() -> tuple[nn.Module, Inputs]:
    from diffusers import SD3Transformer2DModel

    model = SD3Transformer2DModel(
        sample_size=32, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64, out_channels=4,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 4, 8, 8), "encoder_hidden_states": noise(1, TEXT, 32),
        "pooled_projections": noise(1, 64), "timestep": torch.tensor([1.0]),
    }  # fmt: skip


def aura_flow() -> tuple[nn.Module, Inputs]:
    from diffusers import AuraFlowTransformer2DModel

    model = AuraFlowTransformer2DModel(
        sample_size=32, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32, out_channels=4, pos_embed_max_size=256,
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 4, 8, 8), "encoder_hidden_states": noise(1, TEXT, 32), "timestep": torch.tensor([1.0]),
    }  # fmt: skip


def cog_video() -> tuple[nn.Module, Inputs]:
    from diffusers import CogVideoXTransformer3DModel

    model = CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, time_embed_dim=2, text_embed_dim=8,
        num_layers=1, sample_width=8, sample_height=8, sample_frames=8, patch_size=2, temporal_compression_ratio=4,
        max_text_seq_length=TEXT,
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 2, 4, 8, 8), "encoder_hidden_states": noise(1, TEXT, 8), "timestep": torch.tensor([1.0]),
    }  # fmt: skip


def qwen_image() -> tuple[nn.Module, Inputs]:
    from diffusers import QwenImageTransformer2DModel

    model = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 16, 16), "encoder_hidden_states": noise(1, TEXT, 16), "timestep": torch.tensor([1.0]),
        "encoder_hidden_states_mask": torch.ones(1, TEXT), "img_shapes": [[(1, 4, 4)]],
    }  # fmt: skip


def cog_view4() -> tuple[nn.Module, Inputs]:
    from diffusers import CogView4Transformer2DModel

    model = CogView4Transformer2DModel(
        patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=4, out_channels=4,
        text_embed_dim=32, time_embed_dim=8, condition_dim=4,
    )  # fmt: skip
    size = torch.tensor([[8.0, 8.0]])
    return model, {
        "hidden_states": noise(1, 4, 8, 8), "encoder_hidden_states": noise(1, TEXT, 32), "timestep": torch.tensor([1.0]),
        "original_size": size, "target_size": size, "crop_coords": torch.zeros(1, 2),
    }  # fmt: skip


def hunyuan_video() -> tuple[nn.Module, Inputs]:
    from diffusers import HunyuanVideoTransformer3DModel

    model = HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, patch_size=1, patch_size_t=1, text_embed_dim=16, pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 4, 1, 4, 4), "encoder_hidden_states": noise(1, TEXT, 16), "timestep": torch.tensor([1]),
        "encoder_attention_mask": torch.ones(1, TEXT), "pooled_projections": noise(1, 8), "guidance": torch.tensor([1.0]),
    }  # fmt: skip


def hi_dream() -> tuple[nn.Module, Inputs]:
    from diffusers import HiDreamImageTransformer2DModel

    model = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_channels=[32, 16], text_emb_dim=64, num_routed_experts=2, num_activated_experts=1,
        axes_dims_rope=(4, 2, 2), max_resolution=(32, 32), llama_layers=(0, 1),
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 4, 8, 8), "encoder_hidden_states_t5": noise(1, TEXT, 32), "timesteps": torch.tensor([1]),
        "encoder_hidden_states_llama3": noise(2, 1, TEXT - 2, 16), "pooled_embeds": noise(1, 64),
    }  # fmt: skip


def mochi() -> tuple[nn.Module, Inputs]:
    from diffusers import MochiTransformer3DModel

    model = MochiTransformer3DModel(
        patch_size=2, num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16, in_channels=12,
        text_embed_dim=16, time_embed_dim=4, max_sequence_length=TEXT,
    )  # fmt: skip
    return model, {
        "hidden_states": noise(1, 12, 2, 4, 4), "encoder_hidden_states": noise(1, TEXT, 16), "timestep": torch.tensor([1.0]),
        "encoder_attention_mask": torch.ones(1, TEXT).bool(),
    }  # fmt: skip


FAMILIES = [flux, chroma, sd3, aura_flow, cog_video, qwen_image, cog_view4, hunyuan_video, hi_dream, mochi]


def calls(model: nn.Module, x: Inputs) -> list[Call]:
    """All calls of one denoising step."""
    heard: list[Call] = []

    def note(call: Call) -> None:
        heard.append(call)

    with Tap(model, note).listening(), torch.no_grad():
        model(**x)
    return heard


def changed(x: Inputs) -> Inputs:
    """The same inputs with another text."""
    return {
        name: value + 1 if name.startswith("encoder_hidden_states") and "mask" not in name else value
        for name, value in x.items()
    }


@pytest.mark.parametrize("build", FAMILIES, ids=lambda build: build.__name__)
def test_the_keys_that_move_with_the_text_are_the_text(build: Callable[[], tuple[nn.Module, Inputs]]) -> None:
    torch.manual_seed(0)
    model, x = build()
    model.eval()
    segments = JointSegments.of(model, x)
    assert segments is not None
    if build is mochi:  # its text moves the image too, by the time embedding; so its text keys are silenced instead
        for name, parameter in model.named_parameters():
            if "add_k_proj" in name:
                parameter.data.zero_()
    before, after = calls(model, x), calls(model, changed(x))
    joint = next(i for i, call in enumerate(before) if not call.site.path.startswith(OF_TEXT))
    one, other = before[joint], after[joint]  # the first, before text and image have met
    moved = (one.k == 0).all(-1) if build is mochi else (one.k != other.k).any(-1)
    text, image = segments.keys("text", one), segments.keys("image", one)
    assert torch.equal(moved.any(1), text) and not (text & image).any() and image.any()
    for call in before:
        alone = [kind for kind in ("text", "image") if segments.keys(kind, call).all()]
        image_only = ["image"] if call.site.path.endswith("attn2") else []
        expected = ["text"] if call.site.path.startswith(OF_TEXT) else image_only
        assert alone == expected, call.site
        if not alone:
            assert segments.keys("text", call).sum() == text.sum() and segments.keys("image", call).sum() == image.sum()


def test_other_models_have_no_joint_segments() -> None:
    assert JointSegments.of(nn.Linear(1, 1), {}) is None


def test_names_and_numbers_that_cannot_be_are_refused() -> None:
    model, x = flux()
    call = calls(model.eval(), x)[0]
    with pytest.raises(KeyError, match=r"no segment 'user' at .*; there are first, rest, all, text, image"):
        JointSegments(LAYOUTS["FluxTransformer2DModel"], TEXT).keys("user", call)
    with pytest.raises(KeyError, match="has 23 keys, too few for 23 of text and an image"):
        JointSegments(LAYOUTS["FluxTransformer2DModel"], 23).keys("text", call)


def test_a_lens_knows_text_and_image_of_a_diffusion_transformer() -> None:
    import regard

    model, x = sd3()
    got = regard.attach(model.eval(), check=False).measure(x, [regard.Mass("text"), regard.Mass("image")])
    text, image = got["mass[text]"].mean, got["mass[image]"].mean
    torch.testing.assert_close(text + image, torch.ones_like(text), atol=1e-5, rtol=0)
    assert [bool((row == 0).all()) for row in text] == [site.path.endswith("attn2") for site in got.sites]

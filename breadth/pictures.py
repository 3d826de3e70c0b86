"""What families of images and videos are given, where the doctor makes no inputs."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from regard.doctor.made import image_size, noise, random_ids

Inputs = dict[str, Any]


def _ids(model: nn.Module, tokens: int = 8) -> Tensor:
    ids = random_ids(model, 2, tokens)
    assert ids is not None
    return ids


def _images(model: nn.Module, *size: int) -> Inputs:
    """Return two images, of the configuration's own size where none is given."""
    return {"pixel_values": noise(model, 2, 3, *(size or image_size(model.config) or (32, 32)))}


def _points(model: Any) -> Inputs:
    """Return two images with two objects each, of which one point is given, and one that is not of it."""
    side = model.config.prompt_encoder_config.image_size
    x = _images(model, side, side)
    draw = torch.Generator().manual_seed(2)
    return x | {
        "input_points": torch.rand(2, 2, 2, 2, generator=draw) * side,
        "input_labels": torch.tensor([1, 0]).expand(2, 2, 2),
    }


def _patches(model: Any) -> Inputs:
    """Return two images of six patches, each patch behind its row and its column."""
    places = torch.tensor([[row, column] for row in (1, 2) for column in (1, 2, 3)]).expand(2, -1, -1)
    pixels = noise(model, 2, 6, model.config.vision_config.patch_embed_hidden_size)
    return {"flattened_patches": torch.cat([places, pixels], -1), "decoder_input_ids": _ids(model)}


def _clip(model: Any) -> Inputs:
    """Return two texts and two videos."""
    frames = model.config.vision_config.num_frames
    return {"input_ids": _ids(model), "pixel_values": noise(model, 2, frames, 3, 32, 32)}


def _videos(model: Any) -> Inputs:
    """Return two videos of two frames."""
    return {"pixel_values_videos": noise(model, 2, 2, 3, 64, 64)}


def _tracking(kind: Any) -> Any:
    """Return a class whose forward pass follows an object through videos, each in a session of its own.

    The library keeps what it has seen in the session that it is given, so that a second pass of one session is another one.
    """
    session = _session(kind)

    class Tracker(kind):
        def forward(self, pixel_values_videos: Tensor) -> list[Any]:
            """Return the masks and the scores of each frame of each video."""
            found = []
            for video in pixel_values_videos:
                begun = _prompted(session(video, *video.shape[-2:], dtype=video.dtype))
                found += [super(Tracker, self).forward(begun, frame_idx=place) for place in range(len(video))]
            return [_shown(one) for one in found]

    Tracker.__name__ = kind.__name__
    return Tracker


def _shown(frame: Any) -> list[Tensor]:
    """Return a frame's masks and scores; a mask alone does not move while its score stays below what is shown."""
    if hasattr(frame, "pred_masks"):
        return [frame.pred_masks, frame.object_score_logits]
    return [*frame.obj_id_to_mask.values(), torch.tensor([*frame.obj_id_to_score.values()])]


def _session(kind: Any) -> Any:
    return getattr(importlib.import_module(kind.__module__), kind.__name__.removesuffix("Model") + "InferenceSession")


def _prompted(session: Any) -> Any:
    """Say to a session what it is to follow: what two points are of, or what a text says."""
    if hasattr(session, "add_prompt"):
        prompt = session.add_prompt("a dog")
        session.prompt_input_ids[prompt] = torch.arange(20, 28)[None]
        session.prompt_attention_masks[prompt] = torch.ones(1, 8, dtype=torch.long)
        return session
    place = session.obj_id_to_idx(1)
    points = {"point_coords": torch.tensor([[[[20.0, 30.0], [40.0, 10.0]]]]), "point_labels": torch.tensor([[[1, 0]]])}
    session.add_point_inputs(place, 0, points)
    session.obj_with_new_inputs = [1]
    return session


def _classes(model: Any) -> Inputs:
    """Return two images, and for each three classes to look for and a task in words."""
    whole = {"classes_attention_mask": torch.ones(6, 8).bool(), "tasks_attention_mask": torch.ones(2, 8).bool()}
    classes = _ids(model, 24).view(6, 8)
    structure = torch.tensor([3, 3])
    ids = {"classes_input_ids": classes, "tasks_input_ids": _ids(model), "classes_structure": structure}
    return _images(model, 64, 64) | ids | whole


def _standing(model: Any, pixels: Tensor, count: int) -> Inputs:
    """Return two texts with an image each, for which `count` tokens stand."""
    ids = _ids(model, count + 8)
    ids[:, 2 : count + 2] = model.config.image_token_id
    return {"input_ids": ids, "pixel_values": pixels}


KINDS: dict[str, Callable[[Any], Any]] = dict.fromkeys(
    ["edgetam_video", "sam2_video", "sam3_tracker_video", "sam3_video"], _tracking
)
"""What is made of a family's class, where its forward pass takes more than tensors."""

INPUTS: dict[str, Callable[[Any], Inputs]] = {
    **dict.fromkeys(["edgetam", "sam", "sam_hq", "sam2", "sam3_tracker"], _points),
    "align": lambda model: {"input_ids": _ids(model)} | _images(model, 64, 64),
    "omdet_turbo": _classes,
    "pe_audio_video": lambda model: {
        "input_ids": _ids(model),
        "pixel_values_videos": noise(model, 2, 5, 3, 32, 32),
        "input_values": noise(model, 2, 1, 320),
    },
    "pe_video": lambda model: {"input_ids": _ids(model), "pixel_values_videos": noise(model, 2, 5, 3, 32, 32)},
    "granite4_vision": lambda model: (
        _standing(model, noise(model, 2, 3, 3, 32, 32), 10) | {"image_sizes": torch.tensor([[32, 32]] * 2)}
    ),
    "perception_lm": lambda model: _standing(model, noise(model, 2, 1, 3, 32, 32), 16),
    "pix2struct": _patches,
    "pp_formulanet": lambda model: _images(model) | {"decoder_input_ids": _ids(model)},
    "pp_ocrv5_mobile_rec": lambda model: _images(model, 48, 192),
    **dict.fromkeys(KINDS, _videos),
    "tvp": lambda model: {
        "input_ids": _ids(model)[:1],
        "pixel_values": noise(model, 1, 3, 3, 64, 64),
    },  # its code takes one
    "timm_backbone": lambda model: _images(model, 160, 160),
    "x_clip": _clip,
}
"""What a family is given, made for its model."""

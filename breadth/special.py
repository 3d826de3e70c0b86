"""Inputs of those families of transformers for which the doctor makes none, and the families without attention."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regard.doctor.made import noise

from . import pictures

Inputs = dict[str, Any]
IDS = torch.arange(20, 44).view(2, 12)
IMAGE = (2, 3, 32, 32)

_CONVOLUTIONS = (
    "bit convnext convnextv2 dac dinov3_convnext efficientnet hgnet_v2 mobilenet_v1 mobilenet_v2 pp_lcnet pp_lcnet_v3 "
    "pp_lcnet_v4 pp_ocrv5_mobile_det pp_ocrv5_server_det pp_ocrv6_medium_det pp_ocrv6_small_det pp_ocrv6_tiny_rec "
    "regnet resnet superpoint textnet univnet uvdoc vibevoice_acoustic_tokenizer"
)
NO_ATTENTION = {
    **dict.fromkeys(_CONVOLUTIONS.split(), "convolutions only"),
    "encodec": "convolutions and a recurrent network",
    "falcon_mamba": "a state-space model",
    "fnet": "tokens are mixed by a Fourier transform",
    "focalnet": "tokens are mixed by focal modulation, convolutions that are gated",
    "mamba": "a state-space model",
    "mamba2": "a state-space model",
    "poolformer": "tokens are mixed by pooling",
    "rwkv": "a recurrent network",
    "xlstm": "a recurrent network",
}
"""Families that have no attention, and what they have in its place."""


def _images(model: Any, *shape: int, **others: Any) -> Inputs:
    return {"input_ids": IDS, "pixel_values": noise(model, *(shape or IMAGE)), **others}


def _series(model: Any) -> Inputs:
    past, future = 10, 4  # the context, and two lags before it
    return {
        "past_values": noise(model, 2, past),
        "past_time_features": noise(model, 2, past, 2),
        "past_observed_mask": torch.ones(2, past),
        "future_values": noise(model, 2, future),
        "future_time_features": noise(model, 2, future, 2),
    }


def _boxes(tokens: int = 12) -> Tensor:
    corner = torch.arange(tokens) / 20
    return torch.stack([corner, corner, corner + 0.2, corner + 0.3], -1).expand(2, -1, -1)


def _clvp(model: Any) -> Inputs:
    return {"input_ids": IDS, "input_features": noise(model, 2, model.config.decoder_config.feature_size, 40)}


def _dia(model: Any) -> Inputs:
    channels = model.config.decoder_config.num_channels
    return {"input_ids": IDS, "decoder_input_ids": (torch.arange(2 * 7 * channels) % 90).view(2, 7, channels)}


def _kyutai(model: Any) -> Inputs:
    codebooks = model.config.num_codebooks
    return {"input_ids": (torch.arange(2 * 9 * (codebooks + 1)) % 90).view(2, 9, codebooks + 1)}


def _moshi(model: Any) -> Inputs:
    codes = (torch.arange(2 * model.config.num_codebooks * 12) % 90).view(2, model.config.num_codebooks, 12)
    return {"input_ids": IDS, "user_audio_codes": codes, "moshi_audio_codes": codes.flip(-1)}


def _musicgen(model: Any) -> Inputs:
    books = model.config.decoder.num_codebooks
    return {"input_ids": IDS, "decoder_input_ids": (torch.arange(2 * books * 7) % 90).view(2 * books, 7)}


def _qformer(model: Any) -> Inputs:
    ids = torch.cat([torch.full((2, 6), 150), IDS], 1)
    return {"input_ids": ids, "pixel_values": noise(model, *IMAGE), "qformer_input_ids": IDS}


def _qformer_video(model: Any) -> Inputs:
    ids = torch.cat([torch.full((2, 12), 150), IDS], 1)
    return {"input_ids": ids, "pixel_values": noise(model, 2, 2, 3, 32, 32), "qformer_input_ids": IDS}


def _kosmos(model: Any) -> Inputs:
    where = torch.zeros(2, 12, dtype=torch.long)
    where[:, 1 : 1 + model.config.latent_query_num] = 1
    return _images(model, image_embeds_position_mask=where)


def _siglip(model: Any) -> Inputs:
    return {
        "input_ids": IDS,
        "pixel_values": noise(model, 2, 6, 3 * 8 * 8),
        "pixel_attention_mask": torch.ones(2, 6, dtype=torch.long),
        "spatial_shapes": torch.tensor([[2, 3], [2, 3]]),
    }


def _splinter(model: Any) -> Inputs:
    ids = IDS.clone()
    ids[:, 4] = model.config.question_token_id
    return {"input_ids": ids}


def _seggpt(model: Any) -> Inputs:
    return {
        "pixel_values": noise(model, *IMAGE),
        "prompt_pixel_values": noise(model, *IMAGE),
        "prompt_masks": noise(model, *IMAGE),
    }


def _videomae(model: Any) -> Inputs:
    frames = model.config.num_frames
    patches = frames // model.config.tubelet_size * 16
    masked = torch.arange(patches).expand(2, -1) % 3 == 0
    return {"pixel_values": noise(model, 2, frames, 3, 32, 32), "bool_masked_pos": masked}


def _voxtral(model: Any) -> Inputs:
    return {"input_ids": IDS[:, :4], "input_features": noise(model, 2, 128, 32), "num_delay_tokens": 1}


INPUTS: dict[str, Callable[[Any], Inputs]] = {
    **pictures.INPUTS,
    "autoformer": _series,
    "canine": lambda m: {"input_ids": IDS.repeat(1, 2)},
    "clap": lambda m: {"input_features": noise(m, 2, 1, 64, 64), "is_longer": torch.zeros(2, 1).bool()},
    "clipseg": lambda m: _images(m, conditional_pixel_values=noise(m, *IMAGE)),
    "clvp": _clvp,
    "dia": _dia,
    "efficientloftr": lambda m: {"pixel_values": noise(m, 2, 2, 3, 64, 64)},
    "granite_speech5": lambda m: {"input_features": noise(m, 2, 32, 320)},
    "idefics": lambda m: _images(m, 2, 1, 3, 32, 32, image_attention_mask=torch.ones(2, 12, 1)),
    "informer": _series,
    "instructblip": _qformer,
    "instructblipvideo": _qformer_video,
    "jev": lambda m: {
        "input_ids": IDS[:1],
        "marks": torch.tensor([[4, 8]]),
        "num_options": torch.tensor([[2, 2]]),
        "question_type_ids": torch.tensor([[0, 1]]),
    },
    "kosmos2": _kosmos,
    "kyutai_speech_to_text": _kyutai,
    "lxmert": lambda m: {
        "input_ids": IDS,
        "visual_feats": noise(m, 2, 5, m.config.visual_feat_dim),
        "visual_pos": noise(m, 2, 5, m.config.visual_pos_dim),
    },
    "moshi": _moshi,
    "musicgen": _musicgen,
    "musicgen_melody": _musicgen,
    "neucodec": lambda m: {"input_values": noise(m, 2, 1, 3200), "input_features": noise(m, 2, 10, 160)},
    "oneformer": lambda m: {"pixel_values": noise(m, *IMAGE), "task_inputs": torch.arange(154).view(2, 77)},
    "rag": lambda m: {
        "input_ids": IDS,
        "decoder_input_ids": IDS.flip(-1),
        "context_input_ids": IDS.repeat(2, 1),
        "context_attention_mask": torch.ones(4, 12),
        "doc_scores": noise(m, 2, 2),
        "n_docs": 2,
    },
    "seggpt": _seggpt,
    "siglip2": _siglip,
    "splinter": _splinter,
    "superglue": lambda m: {"pixel_values": noise(m, 2, 2, 3, 64, 64)},
    "time_series_transformer": _series,
    "udop": lambda m: {"input_ids": IDS, "decoder_input_ids": IDS.flip(-1), "bbox": _boxes()},
    "videomae": _videomae,
    "videoprism": lambda m: {
        "input_ids": IDS,
        "pixel_values_videos": noise(m, 2, m.config.vision_config.num_frames, 3, 32, 32),
    },
    "voxtral_realtime": _voxtral,
    "xcodec2": lambda m: {"input_values": noise(m, 2, 1, 3200), "input_features": noise(m, 2, 10, 160)},
}
"""What a family is given, made for its model."""

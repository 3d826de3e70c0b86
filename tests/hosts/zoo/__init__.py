"""Small random instances of real model classes, each with inputs."""

from .case import Case, noise, tokens
from .decoders import DECODERS, DEEPSEEK, GEMMA2, GEMMA3, GPT2, GPT_NEOX, GPT_OSS, LLAMA, MISTRAL, QWEN3
from .diffusion import DIFFUSION, FLUX, SD3, UNET
from .encoders import ALBERT, BART, BERT, ENCODERS, MODERNBERT, PAIRS, T5, VIT, WHISPER
from .multimodal import CLIP, LLAVA, MULTIMODAL, QWEN2_5_VL
from .written import BLOOM, DEBERTA, FALCON, GPT_NEO, GPTJ, MODULES, MPT, TORCH, TORCH_SEQUENCE_FIRST, WRITTEN, XGLM

INTERFACE = [*DECODERS, *ENCODERS, *PAIRS, *MULTIMODAL]
ALL = [*INTERFACE, *DIFFUSION, *WRITTEN, *MODULES]

__all__ = [
    "ALBERT", "ALL", "BART", "BERT", "BLOOM", "CLIP", "DEBERTA", "DECODERS", "DEEPSEEK", "DIFFUSION", "ENCODERS",
    "FALCON", "FLUX", "GEMMA2", "GEMMA3", "GPT2", "GPTJ", "GPT_NEO", "GPT_NEOX", "GPT_OSS", "INTERFACE", "LLAMA",
    "LLAVA", "MISTRAL", "MODERNBERT", "MODULES", "MPT", "MULTIMODAL", "PAIRS", "QWEN2_5_VL", "QWEN3", "SD3", "T5",
    "TORCH", "TORCH_SEQUENCE_FIRST", "UNET", "VIT", "WHISPER", "WRITTEN", "XGLM", "Case", "noise", "tokens",
]  # fmt: skip

"""The families that the tests build and examine, in groups that say what each of them has that others have not."""

from .family import Family

TRANSFORMERS = {
    "language models through the interface": "gpt2 llama mistral olmo2 opt phi3 smollm3",
    "windows, sink logits, softcaps and scales of their own": "cohere2 gemma2 gpt_oss granite_swa mimo_v2_flash",
    "one key head for all queries, a bias by distance, latent keys": "bloom deepseek_v3 gpt_bigcode minicpm3 mpt",
    "experts, and attention in some layers only": "granitemoehybrid jamba lfm2 mixtral recurrent_gemma",
    "keys that the model selects": "deepseek_v32 hy_v4",
    "attention that is written out": "codegen ctrl doge gptj openai",
    "a map that the library gets wrong": "falcon paligemma",
    "encoders": "albert bert deberta deberta_v2 distilbert esm ibert modernbert nomic_bert roformer squeezebert xlnet",
    "encoders with decoders": "bart fsmt led m2m_100 moonshine mt5 t5 whisper",
    "images": "beit conditional_detr dinov2 glpn hiera mgp_str pvt_v2 swin vit vitdet",
    "images and text": "bridgetower clip flava git layoutlmv3 llava llava_next mllama qwen2_vl siglip",
    "sound and series": "audio_spectrogram_transformer autoformer granite_speech hubert patchtst",
    "approximate attention, which is refused": "mra nystromformer reformer",
    "none": "fnet mamba",
}
DIFFUSERS = {
    "text beside the image, joined or crossed": "PriorTransformer SD3Transformer2DModel Transformer2DModel",
    "networks of images": "AutoencoderKL UNet1DModel UNet2DConditionModel",
    "video and sound": "StableAudioDiTModel WanTransformer3DModel",
}
SAMPLE = [
    Family(library, name)
    for library, groups in (("transformers", TRANSFORMERS), ("diffusers", DIFFUSERS))
    for names in groups.values()
    for name in names.split()
]

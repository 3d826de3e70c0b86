"""A Llama that sees: features of patches through one linear layer, in the places that a text keeps for them."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM


class PatchLlama(LlamaForCausalLM):
    """A Llama of transformers whose embeddings at `config.image_token_id` are patches, projected by one linear layer.

    Its configuration is Llama's, with `patch_features` and `image_token_id`. `forward` takes `patches` [batch, patch, feature]
    beside the `input_ids` [batch, token], in the order of their places; without them, no place for a patch may be among the
    ids. Raises ValueError where places and patches are not as many.
    """

    base_model_prefix = ""  # the Llama inside does not see the patches, so nobody may run it by itself

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.loss_type = "ForCausalLM"  # transformers reads it off a class's name
        self.projector = nn.Linear(config.patch_features, config.hidden_size)
        self.post_init()

    def forward(self, input_ids: Tensor, patches: Tensor | None = None, **given: Any) -> Any:
        """Return what Llama returns, of the text with its patches."""
        embeds = self.get_input_embeddings()(input_ids)
        places = input_ids == self.config.image_token_id
        # A step of a generation has no place for a patch any more, and is given the patches all the same.
        if bool(places.any()):
            shown = 0 if patches is None else patches.shape[0] * patches.shape[1]
            if int(places.sum()) != shown:
                raise ValueError(
                    f"the texts have {int(places.sum())} places for patches, but {shown} patches were given"
                )
            seen = self.projector(patches).flatten(0, 1).to(embeds.dtype)
            embeds = torch.masked_scatter(embeds, places[..., None], seen)
        return super().forward(inputs_embeds=embeds, **given)

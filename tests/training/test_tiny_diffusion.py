"""The recipe of the shipped diffusion model, at a few steps, and the sampler that draws from it."""

from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel

from regard.diffusion import sample
from regard.training import build
from regard.training.recipes.tiny_diffusion import TinyDiffusion


def test_a_trained_folder_loads_without_regard_and_draws(tmp_path: Path) -> None:
    recipe = TinyDiffusion(steps=2, batch_size=4, pictures=4)
    folder = build(recipe, tmp_path / "model")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    words = AutoTokenizer.from_pretrained(folder / "tokenizer")
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    ids = words(["a ka and a nu"], padding="max_length", return_tensors="pt").input_ids
    empty = words([""], padding="max_length", return_tensors="pt").input_ids
    noise = torch.randn(1, 6, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        text, nothing = (encoder(one).last_hidden_state for one in (ids, empty))
    drawn = sample(unet, scheduler, text, nothing, noise, 3)
    assert torch.equal(recipe.load(folder).draw(ids, 5, steps=3), drawn)
    with torch.no_grad():
        later = encoder(torch.cat([ids[:, :2], empty[:, 2:]], 1)).last_hidden_state
    assert torch.equal(later[:, :2], text[:, :2]) and not torch.equal(later[:, 2:], text[:, 2:])  # no context


class Linear(torch.nn.Module):
    """A stand-in for a U-Net, whose v is known: a share of x and what the text says."""

    def forward(self, x: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> object:
        """Return v."""
        self.sample = 0.1 * x + encoder_hidden_states.mean((1, 2))[:, None, None, None]
        return self


def test_sampling_is_ddim_with_guidance_written_out() -> None:
    torch.manual_seed(0)
    text, empty, noise = torch.randn(2, 3, 4), torch.randn(1, 3, 4), torch.randn(2, 6, 8, 8)
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False)
    for guidance in (1.0, 4.0):
        x, kept = noise, scheduler.alphas_cumprod
        for t in range(800, -1, -200):
            now, then = kept[t], kept[t - 200] if t >= 200 else torch.tensor(1.0)
            v = [0.1 * x + said.mean((1, 2))[:, None, None, None] for said in (empty, text)]
            mixed = v[0] + guidance * (v[1] - v[0])
            clean, eps = now.sqrt() * x - (1 - now).sqrt() * mixed, now.sqrt() * mixed + (1 - now).sqrt() * x
            x = then.sqrt() * clean + (1 - then).sqrt() * eps
        found = sample(Linear(), scheduler, text, empty, noise, 5, guidance)
        torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-5)

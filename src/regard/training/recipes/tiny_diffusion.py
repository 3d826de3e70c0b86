"""The small diffusion model that is shipped: a U-Net of diffusers that draws what prompts of the grid world name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...diffusion import sample
from ...worlds.grid import HELD_OUT_PAIRS, NOUNS, PRESENT, Grid, detect, prompt, tokenizer
from ...worlds.grid.grid import CHANNELS, SIZE
from ...worlds.grid.tokenizer import BOS, EOS, LENGTH, PAD, WORDS
from ..optimiser import AdamW
from ..recipe import HELD_OUT, Recipe, no_bar


class TextToPicture(nn.Module):
    """A text encoder, a U-Net on its states, and the scheduler of both."""

    def __init__(self, text_encoder: Any, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.text_encoder, self.unet, self.scheduler = text_encoder, unet, scheduler

    def encode(self, ids: Tensor) -> Tensor:
        """Return the states [batch, token, feature] of prompts [batch, token]."""
        states: Tensor = self.text_encoder(ids).last_hidden_state
        return states

    def draw(self, ids: Tensor, seed: int, guidance: float = 4.0, steps: int = 20) -> Tensor:
        """Return pictures [batch, channel, row, column] of prompts [batch, token], from noise made on the CPU."""
        device = next(self.parameters()).device
        noise = torch.randn(len(ids), CHANNELS, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)).to(device)
        with torch.no_grad():
            text, empty = self.encode(ids.to(device)), self.encode(_empty().to(device))
        return sample(self.unet, self.scheduler, text, empty, noise, steps, guidance)


@dataclass(frozen=True, kw_only=True)
class TinyDiffusion(Recipe):
    """Embedded words, without context, and a U-Net with cross-attention, trained to predict v on the grid world."""

    name = "tiny-diffusion"
    about = (
        "A small text-conditioned diffusion model in the classes of diffusers. It draws nonsense objects on 8 by 8 cells. "
        "Words are encoded without context, so that cross-attention to a noun is the only way from the noun to the picture. "
        "Load `unet`, `text_encoder`, `tokenizer` and `scheduler` with `from_pretrained` of UNet2DConditionModel, "
        "CLIPTextModel, AutoTokenizer and DDIMScheduler; there is no VAE, and no stock pipeline."
    )
    corpus = (
        "Pictures and prompts of `regard.worlds.grid.Grid`, made up from the seed and the step. Of two different objects one "
        "is named and not drawn in 40% of pictures; six pairs of concepts never appear together. Evaluated on scenes of another "
        "seed, and on all pairs."
    )

    steps: int = 9000
    optimiser: AdamW = field(
        default_factory=lambda: AdamW(lr=3e-3, schedule="cosine", warmup=100, final=1 / 300, betas=(0.9, 0.99))
    )
    evaluate_every: int = 3000
    batch_size: int = 64
    widths: tuple[int, int] = (32, 64)
    without_prompt: float = 0.1
    pictures: int = 128
    world: Grid = field(default_factory=Grid)

    def model(self) -> nn.Module:
        from diffusers import DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        unet = UNet2DConditionModel(
            sample_size=SIZE,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            block_out_channels=self.widths,
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=4,  # the number of heads
            norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(WORDS),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=0,
                num_attention_heads=4,
                max_position_embeddings=LENGTH,
                pad_token_id=PAD,
                bos_token_id=BOS,
                eos_token_id=EOS,
            )
        )
        scheduler = DDIMScheduler(
            num_train_timesteps=1000,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            clip_sample=False,
        )
        return TextToPicture(text_encoder, unet, scheduler)

    def batch(self, step: int) -> Mapping[str, Tensor]:
        made = self.world.sample(self.batch_size, self.seed, step)
        drawn = torch.Generator().manual_seed(step * 1_000_003 + self.seed)
        forgotten = torch.rand(self.batch_size, 1, generator=drawn) < self.without_prompt
        return {
            "pictures": made.pictures,
            "ids": torch.where(forgotten, _empty(), made.ids),
            "noise": torch.randn(made.pictures.shape, generator=drawn),
            "t": torch.randint(0, 1000, (self.batch_size,), generator=drawn),
        }

    def loss(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        pictures, noise, t = batch["pictures"], batch["noise"], batch["t"]
        noised = model.scheduler.add_noise(pictures, noise, t)
        found = model.unet(noised, t, encoder_hidden_states=model.encode(batch["ids"])).sample
        return nn.functional.mse_loss(found, model.scheduler.get_velocity(pictures, noise, t))

    def evaluate(self, model: Any) -> Mapping[str, float]:
        concepts = torch.arange(self.pictures) % len(NOUNS)
        single = detect(model.draw(_ids([[int(one)] for one in concepts]), HELD_OUT)).scores.cpu()
        found = {"single_present": float((single.gather(1, concepts[:, None]) >= PRESENT).float().mean())}
        held = {frozenset(pair) for pair in HELD_OUT_PAIRS}
        pairs = [(a, b) for a in range(len(NOUNS)) for b in range(a) if frozenset((a, b)) not in held]
        for name, asked, guidance in (
            ("cfg1", pairs, 1.0),
            ("cfg4", pairs, 4.0),
            ("held_out_cfg4", list(HELD_OUT_PAIRS), 4.0),
        ):
            named = [asked[n % len(asked)] for n in range(self.pictures)]
            found |= {f"{key}_{name}": value for key, value in two_objects(model, named, HELD_OUT, guidance).items()}
        named = [pairs[n % len(pairs)] for n in range(self.pictures)]
        unasked = model.draw(_empty().expand(self.pictures, -1), HELD_OUT, guidance=1.0)
        found["both_unasked"] = _drawn(unasked, named)["both"]
        return found | {f"pointing_t{t}": pointing(model, self.pictures, t) for t in (200, 500)}

    def save(self, model: Any, folder: Path) -> None:
        with no_bar():
            for name in ("unet", "text_encoder", "scheduler"):
                getattr(model, name).save_pretrained(folder / name)
        tokenizer().save_pretrained(folder / "tokenizer")

    def load(self, folder: str | Path) -> Any:
        from diffusers import DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel

        base = Path(folder)
        return TextToPicture(
            CLIPTextModel.from_pretrained(base / "text_encoder"),
            UNet2DConditionModel.from_pretrained(base / "unet"),
            DDIMScheduler.from_pretrained(base / "scheduler"),
        ).eval()


def two_objects(model: TextToPicture, pairs: list[tuple[int, int]], seed: int, guidance: float) -> dict[str, float]:
    """Return how often both, one and none of two named concepts are drawn, and the mean smaller and larger score."""
    return _drawn(model.draw(_ids(pairs), seed, guidance), pairs)


def _drawn(pictures: Tensor, pairs: list[tuple[int, int]]) -> dict[str, float]:
    scores = detect(pictures).scores.cpu().gather(1, torch.tensor(pairs))
    drawn = (scores >= PRESENT).sum(1)
    rates = {name: float((drawn == count).float().mean()) for name, count in (("both", 2), ("one", 1), ("none", 0))}
    return rates | {"least": float(scores.min(1).values.mean()), "largest": float(scores.max(1).values.mean())}


def pointing(model: TextToPicture, count: int, t: int) -> float:
    """Return how often a noun's cross-attention is largest on its object, in scenes with noise of step `t` of 1000.

    The map of a noun is the mean over heads and the sites at full resolution.
    """
    from ...lens import attach
    from ...measure import Entropy

    made = Grid(dropped=0.0).sample(count, HELD_OUT)
    device = next(model.parameters()).device
    noise = torch.randn(made.pictures.shape, generator=torch.Generator().manual_seed(HELD_OUT))
    times = torch.full((count,), t)
    noised = model.scheduler.add_noise(made.pictures, noise, times)
    x = {
        "sample": noised.to(device),
        "timestep": times.to(device),
        "encoder_hidden_states": model.encode(made.ids.to(device)),
    }
    lens = attach(model.unet)
    sites = lens.measure(x, [Entropy()], role="cross").sites
    maps = [lens.weights(x, site.layer, part=site.part, role="cross").cpu() for site in sites]
    mean = torch.stack([one.mean(1) for one in maps if one.shape[2] == SIZE * SIZE]).mean(0)
    rows, things = made.drawn.nonzero(as_tuple=True)
    places = mean[rows, :, made.nouns[rows, things]].argmax(-1)
    # Of twins either is right: the words do not say which is meant.
    same = made.concepts[:, 0] == made.concepts[:, 1]
    masks = torch.where(same[:, None, None, None], made.masks.any(1, keepdim=True), made.masks)
    return float(masks[rows, things].flatten(1).gather(1, places[:, None]).float().mean())


def _ids(concepts: Any) -> Tensor:
    texts = [prompt(one) for one in concepts]
    ids: Tensor = tokenizer()(texts, padding="max_length", return_tensors="pt").input_ids
    return ids


def _empty() -> Tensor:
    return torch.tensor([[BOS, EOS, *[PAD] * (LENGTH - 2)]])


RECIPE = TinyDiffusion()

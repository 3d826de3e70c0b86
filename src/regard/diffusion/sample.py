"""The plain sampler: a scheduler of diffusers, and classifier-free guidance."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def sample(
    unet: nn.Module, scheduler: Any, text: Tensor, empty: Tensor, noise: Tensor, steps: int = 20, guidance: float = 4.0
) -> Tensor:
    """Return pictures [batch, channel, row, column] for `text` [batch, token, feature], from `noise` of their shape.

    `empty` [1, token, feature] is the encoded empty prompt; prediction = empty + guidance (text - empty), so that a guidance of 1
    is the model itself, and computes it only. `scheduler` is one of diffusers, and is not changed. Source: Ho and Salimans 2022
    (arXiv 2207.12598), with their 1 + w as `guidance`; Song et al. 2021 (arXiv 2010.02502) for DDIM.
    """
    stepper = copy.deepcopy(scheduler)
    stepper.set_timesteps(steps, device=noise.device)
    count, guided = len(noise), guidance != 1
    states = torch.cat([empty.expand(count, -1, -1), text]) if guided else text
    x = noise * stepper.init_noise_sigma
    for t in stepper.timesteps:
        given = stepper.scale_model_input(torch.cat([x, x]) if guided else x, t)
        found = unet(given, t, encoder_hidden_states=states).sample
        if guided:
            without, found = found.chunk(2)
            found = without + guidance * (found - without)
        x = stepper.step(found, t, x).prev_sample
    return x

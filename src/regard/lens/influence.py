"""How much each token of a text moves what a model says behind it: by gradient and by taking tokens away."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..segments import Example

if TYPE_CHECKING:
    from .lens import Lens


def influence(
    lens: "Lens", x: Mapping[str, Any], by: Literal["gradient", "ablation"] = "gradient", *, size: int = 32
) -> list[Tensor]:
    """Return the influence of each token on the next-token distribution behind each text, [token] per example, sum 1.

    By "gradient", the norm of the gradient of the largest logit with respect to the token's embedding; by "ablation", the
    Kullback-Leibler divergence, in nats before it is scaled, when the token's embedding becomes the mean one of its text, `size`
    texts at a time. This is what a rollout is to be compared with. Edits that are active count. Raises ValueError for inputs
    that are more than token ids and their mask, such as images, for a model that gives no logits [example, token, vocabulary],
    or a text in which no token has any influence.
    """
    if by not in ("gradient", "ablation"):
        raise ValueError(f"influence is by gradient or ablation, not {by!r}")
    x = lens.encode(x)
    _check_alone(x)
    model: Any = lens.model
    embed = model.get_input_embeddings()
    found = []
    for row, (example, real) in enumerate(zip(x.segments.examples, x.valid, strict=True)):
        ids = x["input_ids"][row, real.to(x["input_ids"].device)][None]
        embedded = embed(ids).detach()
        last = partial(_last, lens, example)
        scores = _by_gradient(last, embedded) if by == "gradient" else _by_ablation(last, embedded, size)
        if not bool(scores.isfinite().all()) or not float(scores.sum()) > 0:
            raise ValueError(f"no token of text {row + 1} has an influence on what comes behind it")
        found.append((scores / scores.sum()).cpu())
    return found


def _check_alone(x: Mapping[str, Any]) -> None:
    """Raise ValueError for inputs that the embeddings of the ids leave out; token types of 0 are what models take by default."""
    for name, value in x.items():
        usual = name.endswith("token_type_ids") and torch.is_tensor(value) and not bool(value.any())
        if name not in ("input_ids", "attention_mask") and value is not None and not usual:
            raise ValueError(
                f"influence runs the embeddings of token ids and would leave {name} out: give input_ids and their mask alone"
            )


def _by_gradient(last: Callable[[Tensor], Tensor], embedded: Tensor) -> Tensor:
    with torch.enable_grad():
        given = embedded.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(last(given).max(), given)
    return gradient[0].double().norm(dim=-1)


@torch.no_grad()
def _by_ablation(last: Callable[[Tensor], Tensor], embedded: Tensor, size: int) -> Tensor:
    plain = last(embedded).log_softmax(-1)
    n = embedded.shape[1]
    mean = embedded.mean(1)
    parts = []
    for start in range(0, n, size):
        gone = torch.arange(start, min(start + size, n), device=embedded.device)
        without = embedded.repeat(len(gone), 1, 1)
        without[torch.arange(len(gone), device=embedded.device), gone] = mean
        other = last(without).log_softmax(-1)
        parts.append((plain.exp() * (plain - other)).sum(-1))
    return torch.cat(parts).clamp_min(0)


def _last(lens: "Lens", example: Example, embedded: Tensor) -> Tensor:
    """Return the logits behind the last token, [example, vocabulary] float64, of embeddings of one example."""
    model: Any = lens.model
    whole = torch.ones(embedded.shape[:2], dtype=torch.bool)
    lens._vocabulary.remember_embedded(embedded, whole, [example] * len(embedded))  # for edits that name tokens
    logits = getattr(model(inputs_embeds=embedded, use_cache=False), "logits", None)
    if logits is None or logits.ndim != 3:
        raise ValueError(
            f"{type(model).__name__} gives no logits for each token: take the model with its language-model head"
        )
    return logits[:, -1].double()

"""The numbers about heads are the paper's, and measuring them leaves no trace in a training."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from regard.lens import attach
from regard.lens.aside import cuda_of, device_of
from regard.lens.inputs import Inputs
from regard.training import AdamW, fit
from regard.training.head_monitor import HeadMonitor, head_numbers


def neox(dropout: float = 0.0) -> GPTNeoXForCausalLM:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=30, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.4, hidden_dropout=dropout, attention_dropout=dropout, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPTNeoXForCausalLM(config).eval()


def ids(count: int = 5, tokens: int = 7) -> Tensor:
    return torch.randint(0, 30, (count, tokens), generator=torch.Generator().manual_seed(1))


def written_out(maps: np.ndarray) -> dict[str, float]:
    """The paper's package: maps [layer, batch, head, query, key]."""
    entropy = -(maps * np.log(maps + 1e-12)).sum(-1).mean((1, 3))  # [layer, head]
    spread, similarity, participation, gap = [], [], [], []
    for layer, of_heads in enumerate(entropy):
        spread.append(np.sqrt(np.mean((of_heads - of_heads.mean()) ** 2)))
        flat = maps[layer].transpose(1, 0, 2, 3).reshape(maps.shape[2], -1)
        flat = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-12)
        cosines = flat @ flat.T
        heads = len(cosines)
        similarity.append((cosines.sum() - np.trace(cosines)) / (heads * (heads - 1)))
        values = np.linalg.eigvalsh(cosines)
        participation.append(values.sum() ** 2 / (heads * (values**2).sum()))
        gap.append(values[-1] - values[-2])
    names = ("entropy_spread", "similarity", "participation", "gap")
    means = (np.mean(column) for column in (spread, similarity, participation, gap))
    return {"entropy": float(entropy.mean()), **dict(zip(names, map(float, means), strict=True))}


def test_numbers_are_the_packages() -> None:
    lens = attach(neox())
    maps = np.stack([lens.weights({"input_ids": ids()}, layer).double().numpy() for layer in range(2)])
    found = head_numbers(lens, {"input_ids": ids()}, 3)
    assert found.step == 3
    for name, value in written_out(maps).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-5), name
    seen = np.tril(np.ones((7, 7)))
    even = maps - seen / seen.sum(-1, keepdims=True)
    assert found.centred_similarity == pytest.approx(written_out_cosine(even), abs=1e-5)


def written_out_cosine(maps: np.ndarray) -> float:
    found = []
    for layer in maps:
        flat = layer.transpose(1, 0, 2, 3).reshape(layer.shape[1], -1)
        flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        found.append(((flat @ flat.T).sum() - len(flat)) / (len(flat) * (len(flat) - 1)))
    return float(np.mean(found))


def llama_of_equal_heads(layers: int = 1, heads: int = 4) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=30,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            initializer_range=0.4,
        )
    ).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            for weight in (layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight):
                weight.copy_(weight[: 32 // heads].repeat(heads, 1))
    return model


def test_equal_heads_have_the_papers_limits_and_even_ones_are_alike_by_their_mask() -> None:
    found = head_numbers(attach(llama_of_equal_heads()), {"input_ids": ids()})
    assert found.similarity == pytest.approx(1) and found.centred_similarity == pytest.approx(1, abs=1e-4)
    assert found.entropy_spread == pytest.approx(0, abs=1e-6)
    assert found.participation == pytest.approx(1 / 4, abs=1e-5) and found.gap == pytest.approx(4, abs=1e-4)
    model = neox()
    with torch.no_grad():
        for layer in model.gpt_neox.layers:
            layer.attention.query_key_value.weight.mul_(0.15)
    nearly_even = head_numbers(attach(model), {"input_ids": ids()})
    assert nearly_even.similarity > 0.98 and abs(nearly_even.centred_similarity) < 0.6


def test_padding_is_left_out() -> None:
    lens, plain = attach(neox()), ids(1)
    mask = torch.ones(1, 11, dtype=torch.long)
    mask[0, 7:] = 0
    padded = {"input_ids": torch.cat([plain, torch.zeros(1, 4, dtype=torch.long)], 1), "attention_mask": mask}
    one, other = head_numbers(lens, {"input_ids": plain}), head_numbers(lens, padded)
    for name in ("entropy", "entropy_spread", "similarity", "centred_similarity"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)


def batch(step: int) -> Mapping[str, Tensor]:
    drawn = torch.randint(0, 30, (4, 7), generator=torch.Generator().manual_seed(step))
    return {"input_ids": drawn, "labels": drawn}


def test_a_training_is_bit_equal_with_and_without_it() -> None:
    weights, losses = [], []
    for watched in (False, True):
        model = neox(dropout=0.2)
        monitor = HeadMonitor(model, {"input_ids": ids()}, every=2)
        history = fit(model, batch, 6, optimiser=AdamW(lr=0.01), callbacks=[monitor] if watched else [], row_every=1)
        weights.append([one.clone() for one in model.parameters()])
        losses.append(history.column("loss"))
    assert [one.step for one in monitor.found] == [2, 4, 6]
    assert monitor.found[0].similarity != monitor.found[-1].similarity
    assert losses[0] == losses[1] and all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_loop_of_ones_own_keeps_gradients_mode_and_random_numbers() -> None:
    model = neox(dropout=0.2).train()
    monitor = HeadMonitor(model, {"input_ids": ids()}, every=1)
    model(**batch(0)).loss.backward()
    gradients = [one.grad.clone() for one in model.parameters() if one.grad is not None]
    state = torch.get_rng_state()
    numbers = monitor.observe(1)
    assert numbers is not None and model.training and torch.equal(torch.get_rng_state(), state)
    kept = [one.grad for one in model.parameters() if one.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(gradients, kept, strict=True))


def test_frozen_modules_stay_frozen_and_no_gpu_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = neox().train()
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    frozen = model.gpt_neox.layers[0].eval()
    HeadMonitor(model, {"input_ids": ids()}, every=1).observe(1)
    assert model.training and not any(module.training for module in frozen.modules()) and seeded == []
    assert all(module.training for module in model.gpt_neox.layers[1].modules())


class Placed:
    """A stand-in for a parameter on a device that is not here."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.is_meta = device == "meta"


def test_inputs_go_where_the_model_is_and_its_gpus_keep_their_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = neox()
    held = [Placed(name) for name in ("meta", "cuda:1", "cpu", "cuda:0", "cuda:1")]
    with monkeypatch.context() as patch:
        patch.setattr(model, "parameters", lambda: iter(held))
        assert device_of(model) == torch.device("cuda:1")
        assert cuda_of(model) == [torch.device("cuda:1"), torch.device("cuda:0")]
    seen: list[Mapping[str, Any]] = []
    monkeypatch.setattr("regard.training.head_monitor.head_numbers", lambda lens, x, step: seen.append(x))
    monkeypatch.setattr("regard.training.head_monitor.device_of", lambda model: torch.device("meta"))
    for x in ({"input_ids": ids(), "name": "a"}, attach(model).encode({"input_ids": ids()})):
        HeadMonitor(model, x, every=1).observe(1)
    assert [x["input_ids"].device.type for x in seen] == ["meta", "meta"] and seen[0]["name"] == "a"
    assert isinstance(seen[1], Inputs) and x["input_ids"].device.type == "cpu"


def test_without_an_interval_it_stays_within_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slow(*_: Any) -> Any:
        clock[0] += 1.0
        return head_numbers(attach(model), {"input_ids": ids()})

    model = neox()
    monkeypatch.setattr("regard.training.head_monitor.head_numbers", slow)
    monitor = HeadMonitor(model, {"input_ids": ids()}, budget=0.02)
    measured = []
    for step in range(300):
        clock[0] += 0.5
        if monitor.observe(step):
            measured.append(step)
    assert measured[0] == 0 and len(measured) == 4  # 1 s each, in 150 s of training
    assert 0.015 < monitor.overhead < 0.03


def test_it_is_a_callback_of_the_trainer(tmp_path: Any) -> None:
    from transformers import Trainer, TrainingArguments

    model = neox()
    monitor = HeadMonitor(model, {"input_ids": ids()}, every=2)
    data = [{name: value[0] for name, value in batch(step).items()} for step in range(12)]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=4, per_device_train_batch_size=2, logging_steps=2, report_to=[], use_cpu=True,
        disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=[monitor.for_trainer()])
    trainer.train()
    assert [one.step for one in monitor.found] == [2, 4]
    assert any("heads/similarity" in row for row in trainer.state.log_history)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="every 1 step or more, not 0"):
        HeadMonitor(neox(), {}, every=0)
    with pytest.raises(ValueError, match="share of the time"):
        HeadMonitor(neox(), {}, budget=0)
    with pytest.raises(ValueError, match="one head in each"):
        head_numbers(attach(llama_of_equal_heads(heads=1)), {"input_ids": ids()})


def test_the_callback_takes_what_fit_gives() -> None:
    model: nn.Module = neox()
    monitor = HeadMonitor(model, {"input_ids": ids()}, every=3)
    for step in range(1, 7):
        monitor(step, model, torch.tensor(1.0), 0.1)
    assert [one.step for one in monitor.found] == [3, 6]

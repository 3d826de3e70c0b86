"""The loop: seeds, schedule, clipping, evaluation, early stop, history, callbacks, losses that are not finite."""

import math

import pandas
import pytest
import torch
from torch import nn
from training.toys import STEPS, batch, loss, metrics, run, toy

from regard.training import AdamW, Evaluation, fit


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models are bit-equal, buffers included."""
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def test_the_loop_is_torchs_own() -> None:
    """Against a loop written out with torch alone, on a model without dropout, without schedule and clipping."""
    model, plain = (nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11)) for _ in range(2))
    plain.load_state_dict(model.state_dict())

    def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch["ids"]), batch["next"])

    history = fit(
        model,
        batch,
        5,
        loss=loss,
        optimiser=AdamW(lr=0.01, schedule="constant", weight_decay=0.1, clip=None),
        row_every=1,
    )
    groups = [
        {"params": [plain[0].weight, plain[1].weight], "weight_decay": 0.1},
        {"params": [plain[1].bias], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.01, foreach=False)
    for step in range(5):
        value = loss(plain, batch(step))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        assert history.rows[step]["loss"] == pytest.approx(value.item(), rel=1e-6)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_run_depends_on_its_seed_and_on_nothing_between_steps() -> None:
    first, again, other = toy(), toy(), toy()
    run(first, None)
    before = torch.get_rng_state()
    run(again, None, evaluation=None, row_every=5, callbacks=[lambda *_: torch.rand(3)])
    assert torch.equal(torch.get_rng_state(), before)
    run(other, None, seed=1)
    assert same(first, again) and not same(first, other)


def test_each_step_and_seed_draws_numbers_of_its_own() -> None:
    drawn = []

    def look(model: nn.Module, values: dict[str, torch.Tensor]) -> torch.Tensor:
        drawn.append(torch.rand(()).item())
        return loss(model, values)

    for seed in (0, 1, 0):
        fit(toy(), batch, 4, loss=look, seed=seed)
    assert drawn[8:] == drawn[:4] and len(set(drawn)) == 8


def test_gradients_from_before_are_no_part_of_the_first_step() -> None:
    clean, used = toy(), toy()
    loss(used.eval(), batch(99)).backward()  # leaves gradients, and no other trace
    run(clean, None)
    run(used.train(), None)
    assert same(clean, used)


def test_what_is_frozen_stays_and_modes_come_back() -> None:
    model = toy().eval()
    frozen = model.frozen.weight.clone()
    modes = []

    def look(model: nn.Module) -> dict[str, float]:
        modes.append((model.training, torch.is_grad_enabled()))
        return {}

    run(
        model,
        None,
        evaluation=Evaluation(look, every=5),
        callbacks=[lambda step, m, *_: modes.append((m.training, step))],
    )
    assert torch.equal(model.frozen.weight, frozen)
    assert modes.count((False, False)) == 3 and (True, STEPS) in modes
    assert not model.training


@pytest.mark.parametrize(
    ("optimiser", "expected"),
    [
        (AdamW(lr=2.0, schedule="constant", warmup=4), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0]),
        (AdamW(lr=2.0, warmup=0), [1 + math.cos(math.pi * n / 8) for n in range(8)]),
        (AdamW(lr=2.0, warmup=2, final=0.5), [1.0, 2.0, *(1.5 + math.cos(math.pi * n / 6) / 2 for n in range(1, 6))]),
        (AdamW(lr=2.0, schedule="wsd", decay=0.5), [2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5]),
    ],
)
def test_schedules(optimiser: AdamW, expected: list[float]) -> None:
    rates = [optimiser.rate(step, 8) for step in range(8)]
    if optimiser.final:
        expected.insert(2, 2.0)
    assert rates == pytest.approx(expected)


def test_callbacks_get_the_step_the_clipped_gradient_the_loss_and_the_rate() -> None:
    seen = []

    def look(step: int, model: nn.Module, loss: torch.Tensor, lr: float) -> None:
        norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()
        seen.append((step, norm, loss.item(), lr))

    history = run(toy(), None, optimiser=AdamW(lr=0.05, warmup=3, clip=0.01), callbacks=[look])
    assert [step for step, *_ in seen] == list(range(1, STEPS + 1))
    assert all(norm == pytest.approx(0.01, rel=1e-3) for _, norm, *_ in seen)
    assert min(history.column("grad_norm")) > 0.1  # before clipping
    assert history.rows[0]["loss"] == pytest.approx((seen[0][2] + seen[1][2]) / 2)
    assert [seen[row["step"] - 1][3] for row in history.rows] == history.column("lr")


def test_the_history_is_a_table() -> None:
    history = run(toy(), None)
    assert history.column("step") == [2, 4, 6, 8, 10, 12]
    assert [row["step"] for row in history.rows if "eval_accuracy" in row] == [4, 8, 12]
    assert len(set(history.column("eval_drawn"))) == 1  # each evaluation draws the same
    assert history.evaluation.keys() == {"accuracy", "drawn"}
    assert (history.steps, history.ended) == (12, "steps")
    assert 0 < history.rows[0]["seconds"] < history.seconds
    frame = history.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and frame["loss"].tolist() == history.column("loss")


def test_training_ends_at_the_target() -> None:
    history = run(toy(), None, steps=400, evaluation=Evaluation(metrics, every=10, target={"accuracy": 1.0}))
    assert history.ended == "target" and history.steps < 400 and history.steps % 10 == 0
    assert history.evaluation["accuracy"] == 1
    assert all(value < 1 for value in history.column("eval_accuracy")[:-1])


def test_a_metric_that_is_not_finite_is_none_and_reaches_no_target() -> None:
    nan = Evaluation(lambda model: {"accuracy": math.nan}, every=4, target={"accuracy": 0.5})
    history = run(toy(), None, evaluation=nan)
    assert history.evaluation == {"accuracy": None} and history.ended == "steps"


@pytest.mark.parametrize("at", [4, 5, 7])
def test_a_loss_that_is_not_finite_is_told_with_its_step(at: int) -> None:
    def broken(model: nn.Module, values: dict[str, torch.Tensor]) -> torch.Tensor:
        return loss(model, values) * (math.nan if torch.equal(values["ids"], batch(at - 1)["ids"]) else 1.0)

    with pytest.raises(FloatingPointError, match=rf"^the loss is nan at step {at} .*no checkpoint before it$"):
        fit(toy(), batch, STEPS, loss=broken, row_every=4)


def test_a_gradient_that_is_not_finite_is_told_though_the_loss_is() -> None:
    def steep(model: nn.Module, values: dict[str, torch.Tensor]) -> torch.Tensor:
        return loss(model, values) + (model.embed.weight * 0).sqrt().sum()

    with pytest.raises(FloatingPointError, match="the norm of the gradient is nan at step 1 "):
        fit(toy(), batch, STEPS, loss=steep, row_every=1)


def test_bf16_computes_the_loss_under_autocast() -> None:
    kinds = set()

    def look(model: nn.Module, values: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = model(values["ids"])
        kinds.add(logits.dtype)
        return nn.functional.cross_entropy(logits.float(), values["next"])

    model = toy()
    fit(model, batch, 3, loss=look, bf16=True)
    assert kinds == {torch.bfloat16} and {p.dtype for p in model.parameters()} == {torch.float32}


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="found none that requires a gradient"):
        run(toy().requires_grad_(False), None)
    with pytest.raises(ValueError, match="steps and row_every of 1 or more, found 0"):
        run(toy(), None, steps=0)
    with pytest.raises(ValueError, match="the target names speed, but the evaluation gives accuracy, drawn"):
        run(toy(), None, evaluation=Evaluation(metrics, every=1, target={"speed": 1.0}))
    with pytest.raises(ValueError, match="found 'linear'"):
        AdamW(schedule="linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found -1, 0, 0"):
        AdamW(lr=-1)


def test_a_model_of_transformers_needs_labels() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    tiny = LlamaConfig(vocab_size=7, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    ids = torch.randint(0, 7, (2, 6))
    with pytest.raises(ValueError, match="no loss for a batch of input_ids"):
        fit(LlamaForCausalLM(tiny), lambda step: {"input_ids": ids}, 1)
    history = fit(LlamaForCausalLM(tiny), lambda step: {"input_ids": ids, "labels": ids}, 30, optimiser=AdamW(lr=0.03))
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] - 0.5


def test_it_trains_where_a_caller_only_measures() -> None:
    model, expected = toy(), toy()
    fit(expected, batch, 3, loss=loss)
    with torch.no_grad():
        fit(model, batch, 3, loss=loss)
        assert not torch.is_grad_enabled()
    assert same(model, expected)

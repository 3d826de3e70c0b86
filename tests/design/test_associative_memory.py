"""Associative memories: chunked writing is writing pair by pair, capacity laws come out, and conditioning is what rules say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.design.conditioning import Stimuli, blocking, generalisation, responses
from regard.design.memory import Memory, softmax_read
from regard.design.memory_capacity import (
    cosine,
    expected_cosine,
    guaranteed,
    half_power,
    nearest,
    random_keys,
    recalled,
)

MEMORIES = [
    Memory(),
    Memory("decay", 0.7, 0.9),
    Memory("delta", 0.6),
    Memory("gated-delta", 0.6, 0.8),
    Memory("gated-delta", 1.0, 0.0),
    Memory("oja", 0.3),
]


def pairs(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(*shape, 8, generator=generator, dtype=dtype) for _ in range(2))
    return q, k / k.norm(dim=-1, keepdim=True), torch.randn(*shape, 5, generator=generator, dtype=dtype)


def one_by_one(memory: Memory, q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The rules as the table has them, number by number."""
    outs = []
    for t in range(k.shape[-2]):
        key, value, eta, gamma = k[..., t, :], v[..., t, :], memory.eta, memory.gamma
        outer = torch.einsum("...i,...j->...ij", value, key)
        recall = torch.einsum("...ij,...j->...i", state, key)
        unlearn = torch.einsum("...i,...j->...ij", recall, key)
        match memory.rule:
            case "hebb":
                state = state + eta * outer
            case "decay":
                state = gamma * state + eta * outer
            case "delta":
                state = state + eta * (outer - unlearn)
            case "gated-delta":
                state = gamma * (state - eta * unlearn) + eta * outer
            case "oja":
                state = state + eta * (outer - key.square().sum(-1)[..., None, None] * state)
        outs.append(torch.einsum("...ij,...j->...i", state, q[..., t, :]))
    return torch.stack(outs, -2), state


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
@given(
    tokens=st.integers(1, 70),
    chunk=st.integers(1, 80),
    batch=st.lists(st.integers(1, 3), max_size=2),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_chunks_are_pair_by_pair(memory: Memory, tokens: int, chunk: int, batch: list[int], seed: int) -> None:
    q, k, v = pairs(*batch, tokens, seed=seed)
    before = torch.randn(*batch, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected, last = one_by_one(memory, q, k, v, before)
    out, state = memory.scan(q, k, v, before, chunk)
    torch.testing.assert_close(out, expected, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(state, last, atol=1e-10, rtol=1e-9)
    stepped = before
    for t in range(tokens):
        stepped = memory.write(stepped, k[..., t, :], v[..., t, :])
    torch.testing.assert_close(stepped, last, atol=1e-10, rtol=1e-9)


def test_gradients_flow_through_chunks() -> None:
    q, k, v = pairs(2, 9)
    for memory in MEMORIES:
        grads = []
        for chunked in (True, False):
            given_ = [one.clone().requires_grad_() for one in (q, k, v)]
            zero = torch.zeros(2, 5, 8, dtype=torch.float64)
            out, _ = memory.scan(*given_, chunk=4) if chunked else one_by_one(memory, *given_, zero)
            out.square().sum().backward()
            grads.append([one.grad for one in given_])
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-8)


def test_hebb_is_masked_products_and_forgets_the_order() -> None:
    q, k, v = pairs(3, 20)
    out, state = Memory().scan(q, k, v)
    torch.testing.assert_close(out, (q @ k.mT).tril() @ v)
    torch.testing.assert_close(state, v.mT @ k)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Memory().scan(q, k[:, order], v[:, order])[1], state)
    delta = Memory("delta")
    assert (delta.scan(q, k[:, order], v[:, order])[1] - delta.scan(q, k, v)[1]).abs().max() > 0.1


def test_the_last_pair_is_exact_under_the_delta_rule_and_alone_without_memory() -> None:
    q, k, v = pairs(4, 30)
    state = Memory("delta").scan(q, k, v)[1]
    torch.testing.assert_close((state @ k[:, -1, :, None])[..., 0], v[:, -1])
    gone = Memory("gated-delta", 1.0, 0.0).scan(q, k, v)[1]
    torch.testing.assert_close(gone, v[:, -1, :, None] * k[:, -1, None])


def test_orthonormal_keys_are_recalled_exactly() -> None:
    keys = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    values = torch.randn(16, 7, dtype=torch.float64)
    for rule in ("hebb", "delta"):
        torch.testing.assert_close(recalled(Memory(rule), keys, values), values)


@pytest.mark.parametrize("d", [16, 64, 256])
@pytest.mark.parametrize("share", [0.25, 0.5, 1, 2])
def test_the_cosine_law(d: int, share: float) -> None:
    generator, n = torch.Generator().manual_seed(d), max(int(share * d), 8)
    k, v = (random_keys((40, n, d), generator) for _ in range(2))
    assert float(cosine(recalled(Memory(), k, v), v).mean()) == pytest.approx(expected_cosine(n, d), abs=0.02)
    assert half_power(k) == pytest.approx(1 + d, rel=0.1)


def test_reference_values_of_correlated_keys() -> None:
    generator = torch.Generator().manual_seed(0)
    for n, hebb, delta, soft in ((16, 0.45, 0.64, 0.995), (32, 0.34, 0.50, 0.991), (64, 0.24, 0.45, 0.977)):
        k, v = random_keys((40, n, 64), generator, 0.5), random_keys((40, n, 64), generator)
        off = (k @ k.mT).sum((-2, -1)).mean() / (n * (n - 1)) - 1 / (n - 1)
        assert float(off) == pytest.approx(0.5, abs=0.05)
        assert float(cosine(recalled(Memory(), k, v), v).mean()) == pytest.approx(hebb, abs=0.03)
        assert float(cosine(recalled(Memory("delta"), k, v), v).mean()) == pytest.approx(delta, abs=0.06)
        assert float(cosine(softmax_read(k, k, v, 8.0), v).mean()) == pytest.approx(soft, abs=0.01)


def test_guaranteed_is_the_count_written_out() -> None:
    keys = random_keys((7, 12, 64), torch.Generator().manual_seed(1))

    def fine(draw: int, n: int) -> bool:
        return all(sum(abs(float(keys[draw, i] @ keys[draw, j])) for j in range(n) if j != i) < 0.5 for i in range(n))

    for sure in (0.4, 0.95):
        expected = next(n for n in range(12) if sum(fine(draw, n + 1) for draw in range(7)) / 7 < sure)
        assert guaranteed(keys, sure=sure) == expected > 0


def test_what_is_nearest_is_by_direction() -> None:
    values = torch.tensor([[1.0, 0.0], [0.0, 50.0]])
    assert nearest(torch.tensor([[0.9, 0.5], [0.9, 1.0]]), values).tolist() == [True, True]
    assert nearest(torch.tensor([[0.4, 0.5], [0.9, 0.8]]), values).tolist() == [False, False]


def stimuli(others: int = 6) -> Stimuli:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(5, 24, 24, generator=generator))[0].mT
    values = random_keys((5, others + 1, 24), generator)
    return Stimuli(basis[:, 0], basis[:, 1], basis[:, 2], values[:, 0], basis[:, 3 : 3 + others], values[:, 1:])


def of(memory: Memory):  # type: ignore[no-untyped-def]
    return lambda keys, values, probe: (memory.scan(keys, keys, values)[1] @ probe[..., None])[..., 0]


def test_rules_condition_as_textbooks_say() -> None:
    delta = {name: float(r.mean()) for name, r in responses(of(Memory("delta", 0.3)), stimuli(0), 30).items()}
    assert delta["acquisition"] == pytest.approx(1, abs=1e-3) and delta["extinction"] == pytest.approx(0, abs=1e-3)
    assert delta["blocked"] == pytest.approx(0, abs=1e-3) and delta["unblocked"] == pytest.approx(0.5, abs=1e-3)
    assert delta["overshadowed"] == pytest.approx(0.5, abs=1e-3) and delta["inhibited"] < -0.9
    assert delta["latent"] == pytest.approx(1, abs=1e-3)  # which animals do not show
    hebb = responses(of(Memory("hebb", 0.3)), stimuli(0), 30)
    for name in ("acquisition", "extinction", "blocked", "unblocked", "overshadowed", "latent"):
        assert float(hebb[name].mean()) == pytest.approx(9.0, rel=1e-4)
    assert float(hebb["inhibited"].mean()) == pytest.approx(0, abs=1e-4)


def test_blocking_is_complete_none_or_not_to_be_told() -> None:
    assert blocking(responses(of(Memory("delta", 0.3)), stimuli(), 30)) == pytest.approx(1, abs=1e-3)
    assert blocking(responses(of(Memory("hebb", 0.3)), stimuli(), 30)) == pytest.approx(0, abs=1e-3)
    assert blocking(responses(lambda k, v, p: 0 * v[:, 0], stimuli(), 3)) != pytest.approx(0)


def test_a_softmax_read_without_other_pairs_says_the_same_to_every_probe() -> None:
    def read(keys: Tensor, values: Tensor, probe: Tensor) -> Tensor:
        return softmax_read(probe[:, None], keys, values, 8.0)[:, 0]

    alone, amid = (generalisation(read, stimuli(others), 1, (0.0, 1.0)) for others in (0, 6))
    assert alone == pytest.approx([1.0, 1.0], abs=1e-5)
    assert amid[0] < 0.3 < 0.9 < amid[1]


def test_a_linear_memory_generalises_by_the_cosine() -> None:
    found = generalisation(of(Memory()), stimuli(0), 2, (0.0, 0.5, 1.0))
    assert found == pytest.approx([0.0, 1.0, 2.0], abs=1e-5)


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match="no rule is named 'oya'"):
        Memory("oya")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gamma is for"):
        Memory("delta", gamma=0.9)
    q, k, v = pairs(2, 4)
    with pytest.raises(ValueError, match="one length and batch"):
        Memory().scan(q, k, v[:, :3])

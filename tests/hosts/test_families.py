"""Every family and tier: what is measured is the library's own attention, and measuring and leaving change nothing."""

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.core.call import Site
from regard.core.protocols import Statistic
from regard.hosts import mha
from regard.lens import Measurement

from .maps import own_maps
from .state import outputs, same, state
from .zoo import ALL, GPT_OSS, LLAMA, MODULES, QWEN2_5_VL, T5, Case

STATISTICS: list[Statistic] = [
    regard.SinkMass(),
    regard.Mass("all"),
    regard.Entropy(),
    regard.Distance(),
    regard.Received(),
]


def valid(case: Case, x: dict[str, Any], site: Site) -> tuple[Tensor | None, Tensor | None]:
    """Which queries and which keys of a site are real, [batch, n]; None for all."""
    mask = x.get("attention_mask")
    if case in MODULES:
        padding = x.get("src_key_padding_mask")
        return (None, None) if padding is None else (~padding, ~padding)
    if site.part == "vision":
        return None, None
    if site.part == "decoder":
        own = x.get("decoder_attention_mask")
        return own, (mask if site.role == "cross" else own)
    return mask, mask


def check(measured: Measurement, place: int, maps: list[Tensor], queries: Any, keys: Any) -> None:
    """Compare the statistics of one site with those of its maps, [batch, head, query, key] each."""
    expected: dict[str, list[Tensor]] = {"sink_mass": [], "mass[all]": [], "entropy": [], "distance": []}
    example = 0
    for a in maps:
        for row in range(a.shape[0]):
            q = torch.ones(a.shape[2]).bool() if queries is None else queries[row].bool()
            k = torch.ones(a.shape[3]).bool() if keys is None else keys[row].bool()
            w = a[row][:, q][:, :, k].double()
            expected["sink_mass"].append(w[:, :, 0].mean(1))
            expected["mass[all]"].append(w.sum(-1).mean(1))
            expected["entropy"].append(-torch.xlogy(w, w).sum(-1).mean(1))
            apart = (torch.arange(w.shape[1]).double()[:, None] - torch.arange(w.shape[2])).abs()
            expected["distance"].append(((w * apart).sum(-1) / w.sum(-1)).mean(1))
            seen = (w > 0).sum(1).clamp_min(1)
            if "received" in measured.results:
                received = measured["received"].examples[example][place, :, : a.shape[3]].double()
                torch.testing.assert_close(received[:, k], w.sum(1) / seen, atol=1e-5, rtol=1e-5)
            example += 1
    if measured.sites[place].role == "cross":
        assert measured["distance"].mean[place].isnan().all()  # between two sequences there is none
        del expected["distance"]
    for name, values in expected.items():
        mean = torch.stack(values).mean(0)
        torch.testing.assert_close(measured[name].mean[place].double(), mean, atol=1e-5, rtol=1e-5)
        if len(values) > 1:
            spread = torch.stack(values).std(0)
            torch.testing.assert_close(measured[name].std[place].double(), spread, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_statistics_are_those_of_the_librarys_own_maps(case: Case) -> None:
    model, x = case.build(), case.inputs()
    lens = regard.attach(model)
    found = own_maps(case, model, x)
    heard = 0
    for (part, role), count in case.sites.items():
        # A windowed site has an example per window: what is kept per example cannot be joined with that of other sites.
        windowed = case is QWEN2_5_VL and part == "vision"
        got = lens.measure(x, STATISTICS[:-1] if windowed else STATISTICS, part=part, role=role)
        assert [site.layer for site in got.sites] == list(range(count))
        assert {(site.part, site.role, site.tier) for site in got.sites} == {(part, role, case.tier)}
        for place, site in enumerate(got.sites):
            maps = [a for path, a in found if path == site.path] or [found[place][1]]
            if sum(other.path == site.path for other in got.sites) > 1:  # one module for all layers
                maps = [maps[site.use]]
            heard += len(maps)
            check(got, place, maps, *valid(case, x, site))
        assert 0 < got.deviation < 1e-5
    assert heard == len(found)


def test_sink_logits_leave_rows_below_one_and_a_position_bias_is_told() -> None:
    sinks = regard.attach(GPT_OSS.build()).measure(GPT_OSS.inputs(), [regard.Mass("all")])
    assert (sinks["mass[all]"].mean < 0.999).all()
    for case, biased in ((T5, True), (LLAMA, False)):
        sites = regard.attach(case.build()).measure(case.inputs(), STATISTICS).sites
        assert all(("bias" in site.gives) == biased for site in sites)


def body(model: Any) -> nn.Module:
    """The model without its head, which is all that a measurement runs."""
    return model.base_model if isinstance(getattr(model, "base_model", None), nn.Module) else model


@contextmanager
def returned(model: nn.Module) -> Iterator[list[Tensor]]:
    """The first tensor that the model's body returns, each time that it runs."""
    found: list[Tensor] = []
    handle = body(model).register_forward_hook(lambda module, args, out: found.append(out[0].clone()))
    try:
        yield found
    finally:
        handle.remove()


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_measuring_and_neutral_edits_change_nothing(case: Case) -> None:
    model, x = case.build(), case.inputs()
    plain, before = outputs(model, x), state(model)
    lens = regard.attach(model)
    assert same(before, state(model)) and torch.equal(outputs(model, x), plain)
    inside: list[Tensor] = []
    part, role = next(iter(case.sites))
    lens.measure(x, STATISTICS[:1], part=part, role=role)
    assert lens.proved  # where it was not on attaching, by these inputs, with every attention output halved
    with returned(model) as seen:
        for part, role in case.sites:
            lens.measure(x, STATISTICS[:-1], part=part, role=role)
    inside += seen
    assert same(before, state(model))
    with lens.edit(regard.ScaleHeads([(0, 0)], 1.0)):
        inside.append(outputs(model, x))
    assert same(before, state(model)) and torch.equal(outputs(model, x), plain)
    with pytest.raises(KeyboardInterrupt), lens.edit(regard.ZeroHeads([(0, 0)])):
        inside.append(outputs(model, x))
        raise KeyboardInterrupt
    assert same(before, state(model)) and torch.equal(outputs(model, x), plain)
    with returned(model) as bodies, torch.no_grad():
        body(model)(
            **{
                **x,
                **({"use_cache": False} if "use_cache" in inspect.signature(body(model).forward).parameters else {}),
            }
        )
    *measured, neutral, zeroed = inside
    assert not torch.equal(zeroed, plain)
    for got, expected in [*((one, bodies[0]) for one in measured), (neutral, plain)]:
        if case in MODULES:  # torch's fast path is another kernel, and puts zeros in the places of padding
            there = expected != 0
            torch.testing.assert_close(got[there], expected[there], atol=1e-5, rtol=1e-5)
            assert lens._tap.notes == [mha.NOTE]
        else:
            assert torch.equal(got, expected)


def without_head(model: nn.Module, case: Case, site: Site, head: int) -> nn.Module:
    """A twin whose output projection reads nothing of a head of a site."""
    twin = copy.deepcopy(model)
    module, parent = twin.get_submodule(site.path), twin.get_submodule(site.path.rpartition(".")[0])
    found = 0
    for path in case.projections:
        owner = parent if path.startswith("../") else module
        try:
            projection = owner.get_submodule(path.removeprefix("../").replace("/", "."))
        except AttributeError:
            continue
        found += 1
        weight: Tensor = projection.weight.data
        weight = weight if isinstance(projection, nn.Linear) else weight.mT  # GPT-2's are the other way round
        width = case.value_dim or weight.shape[1] // site.heads
        weight[:, head * width : (head + 1) * width] = 0
    assert found
    return twin


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_zeroed_head_is_a_zeroed_slice_before_the_projection(case: Case) -> None:
    model, x = case.build(), case.inputs()
    lens, plain = regard.attach(model), outputs(model, x)
    for part, role in case.sites:
        sites = lens.measure(x, [regard.Entropy()], part=part, role=role).sites
        site = sites[-1]
        heads = [(other.layer, 1) for other in sites if other.path == site.path]  # one module may be several layers
        expected = outputs(without_head(model, case, site, 1), x)
        with lens.edit(regard.ZeroHeads(heads, part=part, role=role)):
            got = outputs(model, x)
        assert (got - plain).abs().max() > 1e-4
        there = expected != 0 if case in MODULES else slice(None)
        torch.testing.assert_close(got[there], expected[there], atol=1e-5, rtol=1e-5)

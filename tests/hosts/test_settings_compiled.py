"""Compiled models: a graph hides attention, so it is set aside while a lens listens, and used again afterwards."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.hosts.stance import as_before, uncompiled

from .state import outputs
from .zoo import FALCON, LLAMA, Case


class Graphs:
    """A backend of torch.compile that counts how often a graph runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            self.runs += 1
            return graph.forward(*args)

        return run


def wrapped(model: nn.Module, graphs: Graphs) -> Any:
    return torch.compile(model, backend=graphs)


def in_place(model: nn.Module, graphs: Graphs) -> Any:
    model.compile(backend=graphs)
    return model


def in_parts(model: Any, graphs: Graphs) -> Any:
    for layer in model.transformer.h if hasattr(model, "transformer") else model.model.layers:
        layer.compile(backend=graphs)
    return model


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("attached", ["before", "after"])
@pytest.mark.parametrize(
    ("case", "way"), [(LLAMA, wrapped), (LLAMA, in_place), (FALCON, wrapped), (FALCON, in_parts)],
    ids=lambda one: getattr(one, "name", None) or one.__name__,
)  # fmt: skip
def test_it_is_measured_and_edited_as_before_compiling(case: Case, way: Callable[..., Any], attached: str) -> None:
    model, x, graphs = case.build(), case.inputs(), Graphs()
    lens = regard.attach(model)
    edit, statistics = regard.Redistribute("first", "rest", 0.6), [regard.Entropy()]
    expected = lens.measure(x, statistics)["entropy"].mean
    with lens.edit(edit):
        edited = outputs(model, x)
    compiled = way(model, graphs)
    plain = outputs(compiled, x)
    assert (ran := graphs.runs) > 0
    lens = lens if attached == "before" else regard.attach(compiled)
    for _ in range(2):
        with lens.edit(edit):
            assert torch.equal(outputs(compiled, x), edited)
        assert torch.equal(lens.measure(x, statistics)["entropy"].mean, expected)
    assert graphs.runs == ran
    assert torch.equal(outputs(compiled, x), plain) and graphs.runs > ran
    known = way is not wrapped or attached == "after"  # a wrapper that comes later is out of sight
    assert ("run uncompiled while regard listens" in " ".join(lens.notes)) == known


def test_a_model_that_is_compiled_while_a_lens_listens() -> None:
    model, x, graphs = LLAMA.build(), LLAMA.inputs(), Graphs()
    lens = regard.attach(model)
    plain = outputs(model, x)
    with lens.edit(regard.ZeroHeads([(0, 0)])):
        edited = outputs(model, x)
        compiled = wrapped(model, graphs)
        assert torch.equal(outputs(compiled, x), edited) and graphs.runs == 0
    torch.testing.assert_close(outputs(compiled, x), plain)
    assert graphs.runs > 0


def test_listeners_that_overlap_set_compiling_aside_together() -> None:
    graphs = Graphs()
    double = torch.compile(lambda x: x * 2, backend=graphs)

    def compiles() -> bool:
        before = graphs.runs
        double(torch.ones(2))
        return graphs.runs > before

    assert compiles()
    one, other = ExitStack(), ExitStack()
    one.enter_context(uncompiled())
    other.enter_context(uncompiled())
    assert not compiles()
    one.close()
    assert not compiles()
    with as_before():
        assert compiles()
    assert not compiles()
    other.close()
    assert compiles()


@pytest.mark.parametrize("kind", ["scripted", "traced", "exported", "inside"])
def test_graphs_without_modules_are_refused(kind: str) -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    x = torch.randn(1, 2, 5, 4)
    make: dict[str, Callable[[], nn.Module]] = {
        "scripted": lambda: torch.jit.script(Own()),
        "traced": lambda: torch.jit.trace(Own(), x),
        "exported": lambda: torch.export.export(Own(), (x,)).module(),
        "inside": lambda: nn.Sequential(torch.jit.script(Own())),
    }
    with pytest.raises(TypeError, match=r"(the model|^0) is a \w+, a scripted, traced or exported graph, which hides"):
        regard.attach(make[kind]())

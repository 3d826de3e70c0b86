"""Threads: passes of one model come one after another, and what a thread measures or changes stays its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard

from .state import outputs, same, state
from .test_generation import OddTokens, agree, generated
from .zoo import BLOOM, FALCON, LLAMA, Case, tokens

PATIENCE = 60
"""Seconds after which a thread that waits for another one fails rather than hangs."""


def together(*tasks: Callable[[], Any]) -> list[Any]:
    """Run each task in a thread of its own."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(task) for task in tasks]]


def layers(model: Any) -> nn.ModuleList:
    return model.model.layers if hasattr(model, "model") else model.transformer.h


def halting(model: nn.Module, act: Callable[[], None]) -> Any:
    """Act once in the middle of the model's next pass."""
    pending = [act]

    def halt(module: nn.Module, args: Any) -> None:
        if pending:
            pending.pop()()

    return layers(model)[1].register_forward_pre_hook(halt)


def prompts(rows: int) -> list[dict[str, Tensor]]:
    return [tokens(1, length) for length in range(7, 7 + rows)]


@pytest.mark.parametrize("case", [LLAMA, FALCON, BLOOM], ids=lambda case: case.name)
def test_generations_of_one_model_under_one_edit(case: Case) -> None:
    model, given = case.build(), prompts(4)
    lens = regard.attach(model)
    handle = lens.install(OddTokens(), regard.Redistribute("first", "rest", 0.6))
    alone = [generated(model, x) for x in given]
    for apart, one in zip(together(*(lambda x=x: generated(model, x) for x in given)), alone, strict=True):
        agree(apart, one, 0.0)
    handle.remove()


def test_measurements_of_one_model() -> None:
    model, given = LLAMA.build(), prompts(4)
    lens = regard.attach(model)
    statistics = [regard.Entropy(), regard.Received()]
    alone = [lens.measure(x, statistics) for x in given]
    apart = together(*(lambda x=x: lens.measure(x, statistics) for x in given))
    for got, expected in zip(apart, alone, strict=True):
        assert torch.equal(got["entropy"].mean, expected["entropy"].mean)
        assert torch.equal(got["received"].examples[0], expected["received"].examples[0])


@pytest.mark.parametrize("case", [LLAMA, FALCON], ids=lambda case: case.name)
def test_a_pass_that_began_before_is_neither_heard_nor_changed(case: Case) -> None:
    model, (x, other) = case.build(), prompts(2)
    lens = regard.attach(model)
    plain, entropy = outputs(model, x), lens.measure(other, [regard.Entropy()])["entropy"]
    begun, measuring, finished = Event(), Event(), Event()

    def wait() -> None:
        begun.set()
        assert measuring.wait(PATIENCE)

    class Meanwhile(regard.Entropy):
        """Lets the other thread's pass go on to its end in the middle of this thread's."""

        def plan(self, call: Any) -> Any:
            measuring.set()
            assert finished.wait(PATIENCE)
            return (yield from super().plan(call))

    def before() -> Tensor:
        try:
            return outputs(model, x)
        finally:
            finished.set()

    hook = halting(model, wait)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(before)
        assert begun.wait(PATIENCE)
        with lens.edit(regard.ZeroHeads([(len(layers(model)) - 1, 1)])):  # behind all entropies
            found = lens.measure(other, [Meanwhile()])["entropy"]
        assert torch.equal(running.result(PATIENCE), plain)
    hook.remove()
    assert torch.equal(found.mean, entropy.mean) and found.count == 1


@pytest.mark.parametrize("case", [LLAMA, FALCON], ids=lambda case: case.name)
def test_a_context_ends_after_the_passes_that_began_in_it(case: Case) -> None:
    model, (x,) = case.build(), prompts(1)
    lens = regard.attach(model)
    edit = regard.Redistribute("first", "rest", 0.6)
    with lens.edit(edit):
        edited = outputs(model, x)
    before = state(model)
    begun = Event()
    with ThreadPoolExecutor(1) as pool:
        with lens.edit(edit):
            hook = halting(model, begun.set)
            running = pool.submit(outputs, model, x)
            assert begun.wait(PATIENCE)
        assert torch.equal(running.result(PATIENCE), edited)
    hook.remove()
    assert same(before, state(model))


def test_two_models_with_two_lenses() -> None:
    def both(model: nn.Module, x: dict[str, Tensor]) -> list[Tensor]:
        lens = regard.attach(model)
        found = []
        for _ in range(5):
            with lens.edit(regard.Redistribute("first", "rest", 0.6)):
                found += [outputs(model, x), lens.measure(x, [regard.Entropy()])["entropy"].mean]
            found.append(outputs(model, x))
        return found

    models = [(case.build(), x) for case in (LLAMA, FALCON) for x in prompts(2)]
    tasks = [lambda model=model, x=x: both(model, x) for model, x in models]
    alone = [task() for task in tasks]
    for apart, one in zip(together(*tasks), alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(apart, one, strict=True))


def test_contexts_of_two_threads_are_refused() -> None:
    model, (x,) = LLAMA.build(), prompts(1)
    lens = regard.attach(model)
    statistics = [regard.Entropy()]

    def edit() -> None:
        with lens.edit(regard.ZeroHeads([(0, 0)])):
            outputs(model, x)

    def record() -> None:
        with lens.record(statistics):
            outputs(model, x)

    with lens.edit(regard.ZeroHeads([(1, 1)])):
        for use in (edit, record, lambda: lens.measure(x, statistics)):
            with pytest.raises(ValueError, match="another thread is in a context of this lens"):
                together(use)
        lens.measure(x, statistics)
    for use in (edit, record, lambda: lens.measure(x, statistics)):
        together(use)


def test_a_generation_in_another_thread_is_recorded() -> None:
    model, (x,) = LLAMA.build(), prompts(1)
    lens = regard.attach(model)
    with lens.record([regard.Entropy()]) as here:
        generated(model, x)
    with lens.record([regard.Entropy()]) as there:
        together(lambda: generated(model, x))
    assert torch.equal(here["entropy"], there["entropy"])


@pytest.mark.parametrize("case", [LLAMA, FALCON, BLOOM], ids=lambda case: case.name)
def test_an_interrupt_leaves_no_pass_open(case: Case) -> None:
    model, (x, other) = case.build(), prompts(2)
    lens = regard.attach(model)
    before = state(model)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with lens.edit(OddTokens()):
        expected = outputs(model, other)
    handle = lens.install(OddTokens())
    hook = halting(model, interrupt)
    with pytest.raises(KeyboardInterrupt):
        outputs(model, x)
    hook.remove()
    assert torch.equal(outputs(model, other), expected)
    assert torch.equal(together(lambda: outputs(model, other))[0], expected)
    handle.remove()
    assert same(before, state(model))


def test_replicas_of_data_parallel_are_refused() -> None:
    model, (x,) = LLAMA.build(), prompts(1)
    plain = outputs(model, x)
    with regard.attach(model).edit(regard.ZeroHeads([(0, 0)])):
        replica: Any = model._replicate_for_data_parallel()  # type: ignore[operator]
        with pytest.raises(ValueError, match="DataParallel runs copies of the model"):
            replica(**x)
        assert not torch.equal(outputs(model, x), plain)

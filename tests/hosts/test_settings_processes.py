"""Models spread over processes: each gives, in every process, what the model by itself gives."""

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp

import regard

from .state import outputs
from .zoo import LLAMA, Case, tokens

PROCESSES = 2
EDITS = [regard.Redistribute("first", "rest", 0.6, heads=[(0, 0), (1, 3)]), regard.ZeroHeads([(0, 1), (1, 2)])]


def losses(model: Any, lens: Any, x: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients of an edited pass, of what no way of spreading divides."""
    model.zero_grad()
    with lens.edit(*EDITS):
        model(**x, labels=x["input_ids"]).loss.backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in getattr(model, "module", model).named_parameters()
        if "norm" in name and parameter.grad is not None
    }


def heads_divided(model: Any) -> Any:
    """Tensor parallelism, as tp_plan="auto" does it."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (PROCESSES,))
    plan = {f"self_attn.{name}_proj": ColwiseParallel() for name in "qkv"} | {"self_attn.o_proj": RowwiseParallel()}
    for layer in model.model.layers:
        parallelize_module(layer, mesh, plan)
    return model


def queries_divided(model: Any) -> Any:
    """Tensor parallelism that leaves the keys whole in each process."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (PROCESSES,))
    for layer in model.model.layers:
        parallelize_module(layer, mesh, {"self_attn.q_proj": ColwiseParallel(), "self_attn.o_proj": RowwiseParallel()})
    return model


def weights_divided(model: Any) -> Any:
    """Fully sharded data parallelism, module by module."""
    from torch.distributed.fsdp import fully_shard

    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    return model


def examples_divided(model: nn.Module) -> Any:
    return nn.parallel.DistributedDataParallel(model)


def gives_the_same(case: Case, spread: Callable[[Any], Any]) -> None:
    x = tokens()
    statistics = [regard.Entropy(), regard.Received()]
    model: Any = case.build()
    lens = regard.attach(model)
    plain, found = outputs(model, x), lens.measure(x, statistics)
    rows = lens.weights(x, 1, heads=[3, 0], queries=[-1])
    with lens.edit(*EDITS):
        edited = outputs(model, x)
    gradients = losses(model, lens, x)
    model = spread(case.build())
    lens = regard.attach(model)
    assert lens.proved
    got = lens.measure(x, statistics)
    close: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-4, "equal_nan": True}
    torch.testing.assert_close(outputs(model, x), plain, **close)
    torch.testing.assert_close(got["entropy"].mean, found["entropy"].mean, **close)
    for a, b in zip(got["received"].examples, found["received"].examples, strict=True):
        torch.testing.assert_close(a, b, **close)
    torch.testing.assert_close(lens.weights(x, 1, heads=[3, 0], queries=[-1]), rows, **close)
    with lens.edit(*EDITS):
        torch.testing.assert_close(outputs(model, x), edited, **close)
    torch.testing.assert_close(outputs(model, x), plain, **close)
    if spread is not weights_divided:
        again = losses(model, lens, x)
        assert again and again.keys() == gradients.keys()
        for name, gradient in again.items():
            torch.testing.assert_close(gradient, gradients[name], **close)


def refuses(case: Case, spread: Callable[[Any], Any]) -> None:
    with pytest.raises(
        ValueError, match=r"2 of 4 heads and 2 of 2 key-value heads in each of 2 processes.* device_map"
    ):
        regard.attach(spread(case.build()))


WAYS: dict[str, tuple[Callable[..., None], Case, Callable[[Any], Any]]] = {
    "tensor parallel": (gives_the_same, LLAMA, heads_divided),
    "unevenly divided": (refuses, LLAMA, queries_divided),
    "fully sharded": (gives_the_same, LLAMA, weights_divided),
    "data parallel": (gives_the_same, LLAMA, examples_divided),
}


def test_the_older_sharding_is_refused() -> None:
    class FullyShardedDataParallel(nn.Module):
        pass

    with pytest.raises(TypeError, match="only the wrapper itself gathers its weights: shard the model by fully_shard"):
        regard.attach(FullyShardedDataParallel())


def work(rank: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    for way, (task, case, spread) in WAYS.items():
        try:
            task(case, spread)
        except Exception as error:
            error.add_note(f"model that is {way}")
            raise
    dist.destroy_process_group()


def test_models_over_processes() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port,), PROCESSES)  # once for all ways, since starting takes longer than they do

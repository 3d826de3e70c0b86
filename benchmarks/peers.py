"""Attention of one model shape in regard, TransformerLens and nnsight, each beside plain transformers in its own process.

    python benchmarks/peers.py --regard .venv/bin/python --peers /tmp/venv-peers/bin/python --json peers.json

A GPT-2 with random weights and random tokens. Every way runs in a process of its own, with the Python whose packages it
needs, and is timed in turn with the plain model of the same process: times are compared there, medians over rounds.
Memory is what operators have made and is still alive, at most, on top of the weights. In the environment of the peers:

    pip install torch==2.13.0 'transformer-lens>=4' nnsight
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from statistics import median
from typing import Any

SHAPES = {"gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768}, "small": {"n_layer": 4, "n_head": 8, "n_embd": 512}}
MAIN = ("regard, statistics", "regard, idle lens", "transformers, maps")
PEERS = ("TransformerLens, pattern cache", "nnsight, saved patterns")


def main() -> None:
    """Run every way in its own process, or one of them in this one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="gpt2")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--regard", default=sys.executable, help="a Python that has regard")
    parser.add_argument("--peers", help="a Python that has transformer_lens and nnsight; without it they are left out")
    parser.add_argument("--json", help="write the numbers, too")
    parser.add_argument("--only", choices=(*MAIN, *PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options)))
        return
    print(f"{options.shape}, {options.length} tokens, float32, {options.threads} threads, {options.runs} rounds")
    print(f"{'way':34} {'plain ms':>9} {'ms':>9} {'/ plain':>8} {'plain MB':>9} {'peak MB':>9}", flush=True)
    lines = []
    for name in (*MAIN, *(PEERS if options.peers else ())):
        python = options.regard if name in MAIN else options.peers
        sizes = ["--shape", options.shape, "--length", options.length, "--runs", options.runs]
        command = [python, __file__, "--only", name, *sizes, "--threads", options.threads]
        quiet = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(options.threads)}
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=quiet)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
            lines.append({"way": name, "failed": reason})
            print(f"{name:34} {reason}", flush=True)
            continue
        line = {"way": name, **json.loads(done.stdout.splitlines()[-1])}
        lines.append(line)
        times = f"{line['plain_ms']:9.0f} {line['ms']:9.0f} {line['to_plain']:8.2f}"
        print(f"{name:34} {times} {line['plain_peak'] / 1e6:9.0f} {line['peak'] / 1e6:9.0f}", flush=True)
    if options.json:
        sizes = {"shape": options.shape, "length": options.length, "threads": options.threads, "runs": options.runs}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"setting": sizes, "lines": lines}, file, indent=1)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time one way in turn with the plain model, and take the memory of both."""
    import torch
    from transformers import GPT2Config, GPT2Model

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = GPT2Config(n_positions=options.length, **SHAPES[options.shape])
    plain = GPT2Model(config).eval()
    ids = torch.randint(config.vocab_size, (1, options.length))
    runs = [lambda: plain(input_ids=ids, use_cache=False), WAYS[options.only](plain, config, ids)]
    with torch.no_grad():
        peaks = [peak_bytes(run) for run in runs]
        seconds: list[list[float]] = [[], []]
        for _ in range(options.runs):
            for own, run in zip(seconds, runs, strict=True):
                begun = time.perf_counter()
                run()
                own.append(time.perf_counter() - begun)
    return {
        "plain_ms": 1e3 * median(seconds[0]),
        "ms": 1e3 * median(seconds[1]),
        "to_plain": median(one / other for other, one in zip(*seconds, strict=True)),
        "plain_peak": peaks[0],
        "peak": peaks[1],
        "versions": versions(),
    }


def regard_statistics(plain: Any, config: Any, ids: Any) -> Callable[[], Any]:
    """What `regard scan` asks of every head."""
    import regard
    from regard.bench.core import STATISTICS

    lens = regard.attach(plain)
    return lambda: lens.measure({"input_ids": ids}, STATISTICS)


def regard_idle(plain: Any, config: Any, ids: Any) -> Callable[[], Any]:
    """A copy of the model with a lens that is asked nothing."""
    import regard
    from regard.bench.copies import shared_copy

    lens = regard.attach(shared_copy(plain))
    return lambda: lens.model(input_ids=ids, use_cache=False)


def maps(plain: Any, config: Any, ids: Any) -> Callable[[], Any]:
    """The library's own maps, without anything computed of them."""
    from transformers import GPT2Model

    eager = GPT2Model(eagerly(config)).eval()
    return lambda: eager(input_ids=ids, use_cache=False, output_attentions=True)


def transformer_lens(plain: Any, config: Any, ids: Any) -> Callable[[], Any]:
    """All patterns of a bridge to a model of the same shape, without anything computed of them."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformers import GPT2LMHeadModel

    own = eagerly(config)
    bridge = build_bridge_from_module(GPT2LMHeadModel(own).eval(), "GPT2LMHeadModel", hf_config=own)
    end = config.n_layer  # stops before the language-model head, which the plain model does not have either

    def patterns(name: str) -> bool:
        return name.endswith("hook_pattern")

    return lambda: bridge.run_with_cache(ids, names_filter=patterns, return_type=None, stop_at_layer=end)


def nnsight(plain: Any, config: Any, ids: Any) -> Callable[[], Any]:
    """All maps of the eager model, saved in a trace, without anything computed of them."""
    from nnsight import NNsight
    from transformers import GPT2Model

    traced = NNsight(GPT2Model(eagerly(config)).eval())

    def run() -> Any:
        with traced.trace(input_ids=ids, use_cache=False, output_attentions=True):
            saved = list().save()  # noqa: C408 - the trace looks for this call
            for block in traced.h:
                saved.append(block.attn.output[1])
        return saved

    return run


def eagerly(config: Any) -> Any:
    """The configuration with eager attention, in a copy: the plain model reads its own while it runs."""
    own = copy.deepcopy(config)
    own._attn_implementation = "eager"
    return own


WAYS = {
    "regard, statistics": regard_statistics,
    "regard, idle lens": regard_idle,
    "transformers, maps": maps,
    "TransformerLens, pattern cache": transformer_lens,
    "nnsight, saved patterns": nnsight,
}


def peak_bytes(run: Callable[[], Any]) -> int:
    """Run once and return the most memory that was alive beyond what was there before, in bytes."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Live(TorchDispatchMode):
        live = peak = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
            result = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, Tensor):
                    storage = tensor.untyped_storage()
                    if storage._cdata not in given | known:
                        known.add(storage._cdata)
                        self.live += storage.nbytes()
                        weakref.finalize(storage, freed, storage._cdata, storage.nbytes())
            self.peak = max(self.peak, self.live)
            return result

    known: set[int] = set()

    def freed(key: int, size: int) -> None:
        known.discard(key)
        counted.live -= size

    with Live() as counted:
        kept = run()
    del kept
    return counted.peak


def versions() -> dict[str, str]:
    """Versions of the packages that are there."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("regard", "torch", "transformers", "transformer-lens", "nnsight"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()

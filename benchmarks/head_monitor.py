"""What watching the heads costs a training: CPU time with the monitor over that without, in one run.

    python benchmarks/head_monitor.py

The model is a Llama of 4 layers of width 256 with random weights; a step has 16 texts of 128 tokens, the
monitor one such batch.
"""

import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard.training import AdamW, fit
from regard.training.head_monitor import HeadMonitor

STEPS, ROUNDS = 60, 4


def main() -> None:
    """Print the ratio, how often it was measured, and what one measurement costs."""
    torch.set_num_threads(1)
    spent: dict[bool, list[float]] = {False: [], True: []}
    measured = []
    for round_ in range(ROUNDS):
        for watched in (False, True):
            model, monitor = _model(), None
            if watched:
                monitor = HeadMonitor(model, {"input_ids": _batch(0)["input_ids"]})
                monitor.observe(0)  # the proof that the model is seen right, and the first measurement, are made once
                measured.append(-len(monitor.found))
            began = time.process_time()
            fit(model, _batch, steps=STEPS, optimiser=AdamW(lr=1e-3), callbacks=[monitor] if monitor else [])
            if round_:  # the first one warms up
                spent[watched].append(time.process_time() - began)
            if monitor:
                measured[-1] += len(monitor.found)
    plain, watched_ = (statistics.median(spent[arm]) for arm in (False, True))
    print(
        f"with the monitor: {watched_ / plain:.3f} times the time, {statistics.mean(measured[1:]):.1f} in {STEPS} steps"
    )


def _model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=500,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=4,
            num_attention_heads=8,
            eos_token_id=None,
        )
    )


def _batch(step: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(500, (16, 128), generator=torch.Generator().manual_seed(step))
    return {"input_ids": ids, "labels": ids}


if __name__ == "__main__":
    main()

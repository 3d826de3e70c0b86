"""What watching the heads costs a training: CPU time in the monitor over that of the steps, in one run.

    python benchmarks/head_monitor.py

The model is a Llama of 4 layers of width 256 with random weights; a step has 16 texts of 128 tokens, the
monitor one such batch.
"""

import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard.training import AdamW, fit
from regard.training.head_monitor import HeadMonitor

STEPS = 60


def main() -> None:
    """Print the share of a training's time that the monitor takes, and how often it measured."""
    torch.set_num_threads(1)
    model = _model()
    monitor = HeadMonitor(model, {"input_ids": _batch(0)["input_ids"]})
    monitor.observe(0)  # the proof that the model is seen right, and the first measurement, are made once
    before, inside = len(monitor.found), 0.0

    def watch(step: int, model: torch.nn.Module, loss: torch.Tensor, lr: float) -> None:
        nonlocal inside
        began = time.process_time()
        monitor(step, model, loss, lr)
        inside += time.process_time() - began

    began = time.process_time()
    fit(model, _batch, steps=STEPS, optimiser=AdamW(lr=1e-3), callbacks=[watch])
    rest = time.process_time() - began - inside
    print(
        f"the monitor takes {inside / rest:.3f} of the time of {STEPS} steps, and measures {len(monitor.found) - before} times"
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

"""Known answers: found where they are planted, not found where they are not, and told by configuration."""

import json
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig, MistralConfig, Qwen2VLConfig

import regard
from regard.doctor import ask, known, probes
from regard.doctor.known import Fact

from .planted import DIMENSIONS, Planted, tokenizer


def fact(probe: str, expected: Any, within: float | None = None) -> Fact:
    return Fact(probe, "planted", {"model_type": "planted"}, probe, expected, "tests/doctor/planted.py", within)


FACTS = [
    fact("previous_token", [[0, 0]]),
    fact("induction", [[1, 0]]),
    fact("name_movers", [[1, 1]]),
    fact("massive_dimensions", list(DIMENSIONS)),
    fact("sink_rate_random", 100 / 16, within=0.5),
    fact("sink_rate_repeated", 0.0, within=0.5),
]


@pytest.mark.parametrize("one", FACTS, ids=lambda one: one.probe)
def test_a_planted_fact_is_found(one: Fact) -> None:
    lens = regard.attach(Planted(), tokenizer, check=False)
    (answer,) = ask(lens, [one])
    assert answer.verdict == "ok", answer
    assert answer.source == "tests/doctor/planted.py" and answer.measured and answer.expected


@pytest.mark.parametrize("one", FACTS[:5], ids=lambda one: one.probe)
def test_without_it_the_fact_fails(one: Fact) -> None:
    (answer,) = ask(regard.attach(Planted(planted=False), tokenizer, check=False), [one])
    assert answer.verdict == "failed", answer


WRONG = [
    fact("previous_token", [[0, 2]]),
    fact("previous_token", [[0, 0], [3, 1]]),
    fact("induction", [[0, 1]]),
    fact("name_movers", [[2, 0]]),
    fact("massive_dimensions", [5, 18]),
    fact("sink_rate_random", 40.0, within=3.0),
    fact("sink_rate_repeated", 100 / 16, within=0.5),
]


@pytest.mark.parametrize("one", WRONG, ids=lambda one: f"{one.probe}-{one.expected}")
def test_a_wrong_fact_fails(one: Fact) -> None:
    """Among them a head that attends at one fixed distance, which is no induction however often the text repeats."""
    (answer,) = ask(regard.attach(Planted(), tokenizer, check=False), [one])
    assert answer.verdict == "failed", answer


def test_what_cannot_be_measured_says_why() -> None:
    (answer,) = ask(regard.attach(Planted(), check=False), [fact("name_movers", [[1, 1]])])
    assert answer.verdict == "failed" and "names need a tokenizer" in answer.measured


CONFIGS: list[tuple[Any, set[str]]] = [
    (GPT2Config(), {"GPT-2 small"}),
    (GPT2Config(n_embd=1600, n_layer=48, n_head=25), {"GPT-2 XL"}),
    (GPT2Config(n_embd=1024, n_layer=24, n_head=16), set()),
    (LlamaConfig(max_position_embeddings=4096), {"Llama-2-7B"}),
    (LlamaConfig(max_position_embeddings=2048), set()),
    (
        LlamaConfig(
            max_position_embeddings=4096,
            hidden_size=5120,
            num_hidden_layers=40,
            num_attention_heads=40,
            intermediate_size=13824,
        ),
        {"Llama-2-13B"},
    ),
    (LlamaConfig(vocab_size=128256, num_key_value_heads=8, max_position_embeddings=8192), {"Llama-3-8B"}),
    (MistralConfig(), {"Mistral-7B"}),
    (
        Qwen2VLConfig(text_config={"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28}),
        {"Qwen2-VL-7B"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "models"), CONFIGS)
def test_models_are_told_by_their_configuration(config: Any, models: set[str]) -> None:
    held: Any = SimpleNamespace(config=config)
    assert {one.model for one in known.about(held)} == models


def test_the_facts_are_whole() -> None:
    facts = known.facts()
    assert {one.probe for one in facts} == {one.probe for one in FACTS}
    for one in facts:
        assert callable(import_module(f"{probes.__name__}.{one.probe}").measure)
        assert one.source and (one.within is not None) == one.probe.startswith("sink_rate")


def test_answers_as_json() -> None:
    answers = ask(regard.attach(Planted(), tokenizer, check=False), FACTS[:2])
    written = json.loads(json.dumps(known.to_json(answers)))
    assert written["schema"] == "regard.doctor.known/1" and written["ok"]
    assert written["answers"][0]["name"] == "previous_token"
    assert not known.to_json([*answers, *ask(regard.attach(Planted(), check=False), WRONG[:1])])["ok"]

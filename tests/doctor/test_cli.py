"""`regard doctor`: its table, its JSON, its exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, FalconConfig, FalconForCausalLM
from typer.testing import CliRunner

from regard.cli import _load, app
from regard.doctor import known
from regard.doctor.examination import CHECKS

from .planted import Planted
from .test_known import FACTS, WRONG


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `regard doctor`."""
    result = CliRunner().invoke(app, ["doctor", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def falcon(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a small Falcon with rotary positions, and a tokenizer."""
    folder = str(tmp_path_factory.mktemp("falcon"))
    tokenizer = AutoTokenizer.from_pretrained(_load.demo_model()[1])
    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2,
        new_decoder_architecture=True, alibi=False, initializer_range=0.2,
    )  # fmt: skip
    FalconForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_that_is_right(tmp_path: Path) -> None:
    code, out, err = call("--json", str(tmp_path / "d.json"))
    assert (code, err) == (0, "")
    assert out.startswith("LlamaForCausalLM, float32, cpu; attention: 4 x main self by interface\n")
    assert "outputs are equal bit by bit" in out and "failed" not in out
    written = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    assert written["schema"] == "regard.doctor/1" and written["ok"] and len(written["findings"]) == len(CHECKS)


def test_a_library_that_is_wrong(falcon: str, tmp_path: Path) -> None:
    code, out, err = call(falcon, "--json", str(tmp_path / "d.json"))
    assert code == 1 and err == "regard: failed: the library's maps agree\n"
    assert "the library is wrong (sdpa)" in out
    written = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    assert not written["ok"] and [one["verdict"] for one in written["findings"]].count("failed") == 1


def test_quiet(falcon: str) -> None:
    assert call("--quiet") == (0, "", "")
    assert call("--quiet", falcon) == (1, "", "regard: failed: the library's maps agree\n")


def test_wrong_usage(tmp_path: Path) -> None:
    code, _, err = call("--known")
    assert code == 2 and "nothing is known of this model; something is of GPT-2 small" in " ".join(err.split())
    assert call("--dtype", "int3")[0] == 2
    assert call("--json", str(tmp_path / "none" / "d.json"))[0] == 1
    code, _, err = call("./nowhere")
    assert code == 1 and err.startswith("regard: there is no folder ./nowhere")


def test_known_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def planted(path: str, options: Any) -> tuple[Any, Any]:
        return Planted(), None

    monkeypatch.setattr(_load, "load_any", planted)
    monkeypatch.setattr(known, "facts", lambda: [FACTS[0], FACTS[3]])
    code, out, err = call("--known", "planted", "--json", str(tmp_path / "k.json"))
    assert (code, err) == (0, "")
    assert out.startswith("what is known of planted\n") and "0.0 among the first 2 of 16" in out
    assert "0.0 is number 1 with 1.00" in out and "tests/doctor/planted.py" in out
    assert json.loads((tmp_path / "k.json").read_text(encoding="utf-8"))["schema"] == "regard.doctor.known/1"
    monkeypatch.setattr(known, "facts", lambda: [FACTS[0], WRONG[4]])
    code, _, err = call("--known", "planted")
    assert code == 1 and err == "regard: failed: massive_dimensions\n"

"""The models that come along: plain libraries load them, the command line knows them, and they do what their cards say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from regard import shipped
from regard.cli import app
from regard.training import recipes

PLAIN = {
    "tiny-lm": """
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
x = tokenizer("While Clara and Olga were in the park, Clara handed a towel to", return_tensors="pt")
said = tokenizer.decode(model.generate(**x, max_new_tokens=1, do_sample=False)[0, -1:]).strip()
assert said == "Olga", said
""",
    "tiny-vlm": """
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
image = Image.open(folder + "/sample/0.png")
x = processor(text="<image> What is in this image?", images=image, return_tensors="pt")
said = processor.batch_decode(model.generate(**x, max_new_tokens=12, do_sample=False)[:, x["input_ids"].shape[1] :])[0]
assert said.strip().startswith("There is a"), said
""",
    "tiny-diffusion": """
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import AutoTokenizer, CLIPTextModel
unet, scheduler = UNet2DConditionModel.from_pretrained(folder + "/unet"), DDIMScheduler.from_pretrained(folder + "/scheduler")
encoder, tokenizer = CLIPTextModel.from_pretrained(folder + "/text_encoder"), AutoTokenizer.from_pretrained(folder + "/tokenizer")
states = encoder(**tokenizer("a ka", return_tensors="pt")).last_hidden_state
assert unet(torch.randn(1, 6, 8, 8), 500, states).sample.isfinite().all() and scheduler.config.prediction_type == "v_prediction"
""",
}


def test_all_three_are_here_and_small() -> None:
    assert shipped.names() == sorted(PLAIN)
    files = [file for name in PLAIN for file in shipped.folder(name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 60e6
    assert not [file for file in files if file.suffix in {".bin", ".pt", ".pkl"}]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_libraries_load_it(name: str) -> None:
    program = f"folder = {str(shipped.folder(name))!r}\n{PLAIN[name]}\nimport sys\nassert 'regard' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize("name", PLAIN)
def test_it_is_of_the_recipe_that_is_here_and_its_card_says_what_it_does(name: str) -> None:
    folder, recipe = shipped.folder(name), recipes.named(name)
    assert json.loads((folder / "recipe.json").read_text(encoding="utf-8")) == json.loads(json.dumps(recipe.to_json()))
    last = json.loads((folder / "history.json").read_text(encoding="utf-8"))[-1]
    assert last["step"] == recipe.steps
    card = (folder / "README.md").read_text(encoding="utf-8")
    found = {key.removeprefix("eval_"): value for key, value in last.items() if key.startswith("eval_")}
    assert found and all(key in card for key in found)


def test_unknown_names_are_told_the_names() -> None:
    with pytest.raises(ValueError, match="there are: tiny-diffusion, tiny-lm, tiny-vlm"):
        shipped.folder("tiny")


def scan(tmp_path: Path, *arguments: str) -> dict:
    file = tmp_path / "r.json"
    run = CliRunner().invoke(app, ["scan", *arguments, "--out", str(tmp_path / "r.html"), "--json", str(file)])
    assert run.exit_code == 0, run.stderr
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_scan_without_a_model_is_of_the_language_model_and_its_texts(tmp_path: Path) -> None:
    found = scan(tmp_path)
    assert found["model"]["name"] == "tiny-lm" and found["unit"] == "text"
    (part,) = found["parts"]
    assert len(part["lengths"]) == len(shipped.texts("tiny-lm")) == 15 and len(part["rows"]) == 4


@pytest.mark.parametrize("given", [True, False])
def test_a_scan_of_the_model_that_sees(given: bool, tmp_path: Path) -> None:
    pictures = shipped.images("tiny-vlm")
    assert pictures is not None
    found = scan(tmp_path, "tiny-vlm", *(["--images", str(pictures)] if given else []))
    assert [part["name"] for part in found["parts"]] == ["main", "vision"]
    assert len(found["parts"][0]["lengths"]) == len(list(pictures.glob("*.png")))
    assert found["examples"][0]["tokens"][-6:] == ["▁What", "▁is", "▁in", "▁this", "▁image", "?"]


def test_a_folder_of_the_same_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny-lm").mkdir()
    run = CliRunner().invoke(app, ["scan", "tiny-lm"])
    assert run.exit_code == 1 and "cannot load the model tiny-lm" in run.stderr


def test_the_language_model_copies_and_has_heads_for_it() -> None:
    from regard.training.recipes.tiny_lm import RECIPE

    model = RECIPE.load(shipped.folder("tiny-lm"))
    with torch.no_grad():
        found = RECIPE.evaluate(model)
    card = json.loads((shipped.folder("tiny-lm") / "history.json").read_text(encoding="utf-8"))[-1]
    for name, value in found.items():
        assert value == pytest.approx(card[f"eval_{name}"], abs=0.02), name
    assert found["induction_score"] - found["induction_control"] > 0.3

"""`regard diff`: one model with and without edits, and two models."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from report.models_here import CHATS, kinds, pictures
from transformers import AutoModel, AutoTokenizer
from typer.testing import CliRunner

import regard
from regard.cli import _load, app

FOLDER = _load.demo_model()[1]


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(app, ["diff", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def edits(tmp_path: Path) -> Path:
    regard.save_edits([regard.Redistribute("first", "rest", 0.6, layers=[3])], tmp_path / "e.json")
    return tmp_path / "e.json"


def test_an_edit_shows_in_the_layers_that_it_names_and_after(edits: Path, tmp_path: Path) -> None:
    page, numbers = tmp_path / "d.html", tmp_path / "d.json"
    code, out, err = call(FOLDER, "--edit", str(edits), "--out", str(page), "--json", str(numbers))
    assert code == 0, err
    assert "heads have clearly changed their sink mass; most of all L3H" in out and "model with e.json" in out
    found = json.loads(numbers.read_text(encoding="utf-8"))
    assert found["schema"] == "regard.diff/1" and found["names"] == ["model", "model with e.json"]
    before, after = (found[side]["parts"][0]["statistics"]["sink_mass"]["mean"] for side in ("before", "after"))
    assert before[:3] == after[:3]
    assert all(now < was for was, now in zip(before[3], after[3], strict=True))
    model, tokenizer = AutoModel.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
    lens = regard.attach(model.eval(), tokenizer)
    with lens.edit(*regard.load_edits(edits)):
        mean = lens.measure(lens.encode(_load.sample()), [regard.SinkMass()])["sink_mass"].mean
    assert after[4] == pytest.approx(mean[4].tolist(), abs=1e-5)
    assert "what attention does differently" in page.read_text(encoding="utf-8")


def test_two_models_of_one_shape_are_compared_and_others_refused(tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(FOLDER)
    model.encoder.layer[2].attention.self.query.weight.data.mul_(0)
    for name, layers in (("same", 6), ("shorter", 4)):
        model.encoder.layer = model.encoder.layer[:layers]
        model.config.num_hidden_layers = layers
        model.save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(FOLDER).save_pretrained(tmp_path / name)
    out = tmp_path / "d.html"
    code, told, err = call(FOLDER, str(tmp_path / "same"), "--out", str(out))
    assert code == 0 and "changed their entropy; most of all L2H" in told, err
    out.unlink()
    code, _, err = call(FOLDER, str(tmp_path / "shorter"), "--out", str(out))
    assert code == 1 and "no head has its counterpart" in err and not out.exists()


def test_it_takes_conversations_and_images_as_a_scan_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    regard.save_edits([regard.ScaleHeads([(1, 0)], 0.5)], "e.json")
    Path("m.jsonl").write_text("\n".join(json.dumps(chat) for chat in CHATS))
    Path("pictures").mkdir()
    for place, picture in enumerate(pictures()):
        picture.save(f"pictures/{place}.png")
    for kind, given, seen in (("chat", "--messages=m.jsonl", None), ("vlm", "--images=pictures", 3)):
        model, processor, _ = kinds()[kind]
        model.save_pretrained(kind)
        processor.save_pretrained(kind)
        code, _, err = call(kind, given, "--edit=e.json", "--out=d.html", f"--json={kind}.json")
        assert code == 0, err
        found = json.loads(Path(f"{kind}.json").read_text(encoding="utf-8"))
        for side in ("before", "after"):
            assert found[side]["unit"] == "conversation" and found[side]["settings"].get("images") == seen


def test_both_are_loaded_as_asked_and_an_adapter_is_of_the_second(
    edits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, _load.Options]] = []
    load_any = _load.load_any

    def load(path: str, options: _load.Options) -> object:
        asked.append((path, options))
        model, processor = load_any(path, _load.Options())
        if options.adapter:
            model.encoder.layer[2].attention.self.query.weight.data.mul_(0)
        return model, processor

    monkeypatch.setattr(_load, "load_any", load)
    out = tmp_path / "d.html"
    code, told, err = call(
        FOLDER, "--adapter", "some/adapter", "--load-in-4bit", "--device-map", "auto", "--edit", str(edits),
        "--out", str(out),
    )  # fmt: skip
    assert code == 0, err
    first, second = asked
    assert first == (FOLDER, _load.Options(device_map="auto", load_in_4bit=True, whole=True))
    assert second == (FOLDER, replace(first[1], adapter="some/adapter"))
    assert "model and model with adapter and e.json" in told and "L2H" in told
    asked.clear()
    assert call(FOLDER, FOLDER, "--out", str(out), "--device", "cpu")[0] == 0
    assert asked == [(FOLDER, _load.Options(device="cpu"))]  # once, since both are the same


def test_what_is_wrong_is_told(edits: Path, tmp_path: Path) -> None:
    assert call(FOLDER)[0] == 2
    code, _, err = call(FOLDER, "--edit", str(tmp_path / "none.json"))
    assert code == 1 and "none.json" in err and err.count("\n") == 1
    code, _, err = call(FOLDER, "--adapter", "none")
    assert code == 1 and "cannot load the adapter none" in err and err.count("\n") == 1
    regard.save_edits([regard.ZeroHeads([(9, 0)])], edits)
    code, _, err = call(FOLDER, "--edit", str(edits), "--out", str(tmp_path / "d.html"))
    assert code == 1 and "changed nothing" in err and not (tmp_path / "d.html").exists()

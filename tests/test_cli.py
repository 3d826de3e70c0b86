"""The command line: what it says, what it writes, how it fails, and one real model from end to end."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
from lens.tokenizers_here import CHATML, byte_level
from report.models_here import TEXT as SMALL
from report.models_here import kinds
from transformers import AutoModel, AutoTokenizer, LlamaConfig, LlamaForCausalLM, T5Config, T5Model, ViTConfig, ViTModel
from typer.testing import CliRunner

import regard
from regard.cli import _load, _say, app
from regard.cli import scan as verb
from regard.report.data import Scan
from regard.report.scan import scan

FOLDER = _load.demo_model()[1]
SAMPLE = Path(regard.__file__).with_name("report").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()


def call(*arguments: str, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, dict]:
    """Standard output, page and JSON of a scan of the packaged MiniLM with the built-in texts."""
    folder = tmp_path_factory.mktemp("demo")
    page, numbers = folder / "r.html", folder / "r.json"
    code, out, err = call("scan", FOLDER, "--out", str(page), "--json", str(numbers))
    assert code == 0, err
    assert sorted(folder.iterdir()) == [page, numbers]
    return out, page.read_text(encoding="utf-8"), json.loads(numbers.read_text(encoding="utf-8"))


def eager_maps(texts: list[str]) -> list[torch.Tensor]:
    """The library's own maps of the packaged MiniLM, text by text: [layer, head, query, key] in float64."""
    model = AutoModel.from_pretrained(FOLDER, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    with torch.no_grad():
        runs = [model(**tokenizer(text, return_tensors="pt"), output_attentions=True) for text in texts]
    return [torch.cat(run.attentions).double() for run in runs]


def test_the_page_says_what_the_eager_maps_show(demo: tuple[str, str, dict]) -> None:
    out, page, numbers = demo
    maps = eager_maps(SAMPLE)
    mass = torch.stack([weights[..., 0].mean(-1) for weights in maps])
    layers = mass.mean((0, 2))[1:5]
    assert (layers > 0.40).all() and (layers < 0.57).all()
    claim = (
        f", the first token of every text, takes {layers.min():.2f} to {layers.max():.2f} of all attention "
        "in layers 2 to 5 of 6 (L1 to L4)"
    )
    assert f"[CLS]{claim}" in out and f"<code>[CLS]</code>{claim}" in page

    main = numbers["parts"][0]
    table = {name: torch.tensor(values["mean"], dtype=torch.float64) for name, values in main["statistics"].items()}
    spread = torch.tensor(main["statistics"]["sink_mass"]["std"], dtype=torch.float64)
    torch.testing.assert_close(table["sink_mass"], mass.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(spread, mass.std(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(table["sink_rate"], (mass > 0.3).double().mean(0), atol=1e-9, rtol=0)
    entropy = torch.stack([-torch.xlogy(weights, weights).sum(-1).mean(-1) for weights in maps])
    torch.testing.assert_close(table["entropy"], entropy.mean(0), atol=1e-5, rtol=0)
    places = [torch.arange(weights.shape[-1]).double() for weights in maps]
    reach = [(weights * (at[:, None] - at).abs()).sum(-1).mean(-1) for weights, at in zip(maps, places, strict=True)]
    torch.testing.assert_close(table["distance"], torch.stack(reach).mean(0), atol=1e-4, rtol=0)
    for name, table in main["statistics"].items():
        assert table["texts"] == len(SAMPLE), name


def test_the_json_is_the_scan(demo: tuple[str, str, dict]) -> None:
    _, page, numbers = demo
    result = Scan.from_json(numbers)
    assert result.trusted and result.special == ["[CLS]", "[SEP]"] and result.unit == "text"
    (part,) = result.parts
    assert part.reading == "both" and [row.layer for row in part.rows] == list(range(6))
    assert len(part.lengths) == result.texts == len(SAMPLE) and result.command.startswith("regard")
    assert len(result.findings) == 5 and all(finding.title in page for finding in result.findings)


def test_batches_and_cuts_do_not_change_a_text() -> None:
    model = AutoModel.from_pretrained(FOLDER).eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    done: list[tuple[int, int]] = []
    one = scan(model, tokenizer, SAMPLE[:3], batch_size=1, max_tokens=12, progress=lambda *step: done.append(step))
    together = scan(model, tokenizer, SAMPLE[:3], max_tokens=12)
    assert one.parts[0].lengths == [12] * 3 and one.truncated == 3
    assert all(example.truncated > 0 for example in one.examples)
    for name, table in one.parts[0].statistics.items():
        other = together.parts[0].statistics[name]
        torch.testing.assert_close(torch.tensor(table.mean), torch.tensor(other.mean), atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.tensor(table.std), torch.tensor(other.std), atol=1e-5, rtol=0)


def test_a_text_that_would_run_as_script_does_not(tmp_path: Path) -> None:
    nasty, page = tmp_path / "<b>.txt", tmp_path / "r.html"
    nasty.write_text("<script>alert(1)</script>", encoding="utf-8")
    code, out, _ = call("scan", FOLDER, "--text", str(nasty), "--out", str(page), "--quiet")
    html = page.read_text(encoding="utf-8")
    assert code == 0 and out.split() == [str(page)]
    assert "<script>alert" not in html and "alert" in html and "1 text only" in html


def test_standard_input_is_a_text(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    code, out, err = call("scan", "--text", "-", "--out", str(page), stdin="Rain fell on the quiet harbour.")
    assert code == 0, err
    assert "In this one text" in out and "harbour" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["/no/such/model"], "there is no folder /no/such/model"),
        (["--text", "nowhere.txt"], "cannot read nowhere.txt"),
        (["--text", "empty.txt"], "holds no text"),
        (["--text", "latin.txt"], "not UTF-8"),
        (["empty.txt"], "is a file"),
        (["--out", "no/folder/r.html"], "does not exist"),
        (["--json", "."], "is a folder"),
        (["--messages", "empty.txt"], "holds no text"),
        (["--messages", "broken.jsonl"], "broken.jsonl: line 1 is no JSON"),
        (["--data", "rows.jsonl"], "rows.jsonl, line 1: a row has a field text or messages"),
        (["--data", "rows.parquet"], "parquet needs pandas and pyarrow"),
        (["--data", "empty.csv"], "--data takes .jsonl, .parquet and .txt"),
        (["--images", "nowhere"], "no such folder"),
        (["--images", "blank"], "holds no images"),
        (["--images", "pictures", "--text", "some.txt"], "images and texts together"),
        (["--images", "pictures"], "LlamaModel takes no images"),
        (["--adapter", "a"], "--adapter needs peft; run: pip install peft"),
        (["--device-map", "auto"], "--device-map needs accelerate; run: pip install accelerate"),
        (["--load-in-4bit"], "--load-in-4bit needs bitsandbytes and accelerate"),
        (["vision"], "vision has no image processor"),
        (["pair"], "pair has no tokenizer"),
        (["blank"], "cannot load the model blank"),
    ],
)
def test_failures_say_why_in_one_line(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text(" \n")
    Path("latin.txt").write_bytes("café".encode("latin-1"))
    Path("blank").mkdir()
    Path("some.txt").write_text("some text")
    Path("broken.jsonl").write_text("{")
    Path("rows.jsonl").write_text('{"body": 1}')
    Path("pictures").mkdir()
    Path("pictures/a.png").touch()
    for package in ("peft", "accelerate", "bitsandbytes", "pyarrow"):
        monkeypatch.setitem(sys.modules, package, None)
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    if arguments == ["vision"]:
        ViTModel(ViTConfig(**small)).save_pretrained("vision")
    if arguments == ["pair"]:
        T5Model(T5Config(d_model=16, d_ff=16, num_layers=1, num_heads=2, vocab_size=50)).save_pretrained("pair")
    code, out, err = call("scan", *arguments)
    assert code == 1 and reason in err and err.count("\n") == 1 and not out
    assert not list(tmp_path.glob("*.html")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dtype", "int3"],
        ["--batch-size", "0"],
        ["--max-tokens", "x"],
        ["--device", "banana"],
        ["--text", "-", "--text", "-"],
        ["--out", "a", "--json", "a"],
        ["--device", "cpu", "--device-map", "auto"],
        ["--no-such-option"],
        ["one", "two"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("scan", *arguments)[0] == 2
    assert not list(tmp_path.iterdir())


def test_the_output_is_checked_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load, "load_any", lambda *_, **__: pytest.fail("the model was loaded"))
    assert call("scan", "--out", "/no/folder/r.html")[0] == 1
    assert call("scan", "--data", "nowhere.jsonl")[0] == 1


def test_a_benchmark_without_the_demo_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load, "DEMO", "no_such_package_here")
    code, _, err = call("bench", "model")
    assert code == 1 and "pip install 'regard[demo]'" in err


def test_an_interrupted_scan_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("regard.report.scan.scan", interrupted)
    assert call("scan", "--out", str(tmp_path / "r.html"))[0] != 0
    assert not list(tmp_path.iterdir())


def test_a_failed_spot_check_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scan, "tolerance", property(lambda self: 0.0))
    code, _, err = call("scan", "--out", str(tmp_path / "r.html"))
    assert code == 1 and "spot check failed" in err


def test_help_and_version_are_fast() -> None:
    program = (
        "import sys; from regard.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "print('torch' in sys.modules)"
    )
    for option, said in [("--help", "scan"), ("--version", "regard")]:
        run = subprocess.run([sys.executable, "-c", program, option], capture_output=True, text=True, check=True)
        assert said in run.stdout and run.stdout.split()[-1] == "False"


def test_the_schema_is_that_of_the_numbers(demo: tuple[str, str, dict], tmp_path: Path) -> None:
    code, out, _ = call("scan", "--schema")
    assert code == 0
    schema = json.loads(out)
    jsonschema.validate(demo[2], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**demo[2], "parts": [{}]}, schema)


def test_conversations_data_and_texts_are_measured_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=2))
    model.save_pretrained("llama")
    byte_level(CHATML, bos=False).save_pretrained("llama")
    Path("a.txt").write_text("the cat sat on the mat")
    Path("d.txt").write_text("the dog ran\nthe station\n")
    chat = [{"role": "user", "content": "secret Paris"}, {"role": "assistant", "content": "the cat"}]
    Path("m.jsonl").write_text(json.dumps(chat))
    arguments = ["--text", "a.txt", "--data", "d.txt", "--messages", "m.jsonl", "--out", "r.html", "--json", "r.json"]
    code, _, err = call("scan", "llama", *arguments)
    assert code == 0, err
    result = Scan.from_json(json.loads(Path("r.json").read_text()))
    assert (
        result.texts == 4 and result.unit == "conversation" and {"user", "assistant"} < set(result.parts[0].areas.names)
    )
    code, _, err = call("scan", "llama", *arguments, "--redact")
    assert code == 0, err
    for written in (Path("r.json").read_text(), Path("r.html").read_text()):
        assert "ecre" not in written.lower() and "Paris" not in written


@pytest.mark.parametrize("kind", ["vision", "vlm", "pair"])
def test_other_kinds_of_models_are_loaded_and_scanned(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, processor, given = kinds()[kind]
    model.save_pretrained("model")
    processor.save_pretrained("model")
    arguments = []
    if "images" in given:
        Path("pictures").mkdir()
        for place, picture in enumerate(given["images"]):
            picture.save(f"pictures/{place}.png")
        arguments = ["--images", "pictures"]
    else:
        Path("d.txt").write_text("\n".join(given["given"]))
        arguments = ["--data", "d.txt"]
    code, _, err = call("scan", "model", *arguments, "--out", "r.html", "--json", "r.json")
    assert code == 0, err
    loaded = Scan.from_json(json.loads(Path("r.json").read_text()))
    direct = scan(model, processor, **given)
    assert [part.title for part in loaded.parts] == [part.title for part in direct.parts]
    for part, same in zip(loaded.parts, direct.parts, strict=True):
        for name in ("sink_mass", "entropy"):
            torch.testing.assert_close(
                torch.tensor(part.statistics[name].mean), torch.tensor(same.statistics[name].mean), atol=1e-4, rtol=1e-4
            )


def test_a_redacted_command_hides_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/regard", "scan", "a model", "--text", "of john.txt", "--data=x.txt", "-q"])
    assert verb._command(redact=False) == "regard scan 'a model' --text 'of john.txt' --data=x.txt -q"
    assert verb._command(redact=True) == "regard scan 'a model' --text ... --data=... -q"


def test_progress_is_shown_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    with _say.bar("measuring", 3, quiet=True) as progress:
        progress(1, 6)
        assert progress._progress.tasks[0].total == 6 and progress._progress.tasks[0].completed == 1
        progress(2)
        assert progress._progress.tasks[0].total == 6 and progress._progress.tasks[0].completed == 2


def test_slow_steps_have_a_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 6000, 60))
    with _say.bar("measuring", 32, quiet=True) as progress:
        monkeypatch.setattr(progress._progress, "get_time", lambda: next(now))
        for done in range(1, 5):
            progress(done)
        assert progress._progress.tasks[0].time_remaining == 28 * 60

"""The command line: what it says, what it writes, how it fails, and one real model from end to end."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, T5Config, T5Model, ViTConfig, ViTModel
from typer.testing import CliRunner

import regard
from regard.cli import _load, app
from regard.edit import Redistribute, ZeroHeads
from regard.measure import Received, SinkMass
from regard.report.data import Scan
from regard.report.findings import find
from regard.report.scan import scan

FOLDER = _load.demo_model()[1]
SAMPLE = Path(regard.__file__).with_name("report").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()


def call(*arguments: str, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, dict]:
    """Standard output, page and JSON of `regard scan` on the packaged MiniLM and the built-in texts."""
    folder = tmp_path_factory.mktemp("demo")
    page, numbers = folder / "r.html", folder / "r.json"
    code, out, err = call("scan", "--out", str(page), "--json", str(numbers))
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

    table = {name: torch.tensor(values["mean"], dtype=torch.float64) for name, values in numbers["statistics"].items()}
    spread = torch.tensor(numbers["statistics"]["sink_mass"]["std"], dtype=torch.float64)
    torch.testing.assert_close(table["sink_mass"], mass.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(spread, mass.std(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(table["sink_rate"], (mass > 0.3).double().mean(0), atol=1e-9, rtol=0)
    entropy = torch.stack([-torch.xlogy(weights, weights).sum(-1).mean(-1) for weights in maps])
    torch.testing.assert_close(table["entropy"], entropy.mean(0), atol=1e-5, rtol=0)
    places = [torch.arange(weights.shape[-1]).double() for weights in maps]
    reach = [(weights * (at[:, None] - at).abs()).sum(-1).mean(-1) for weights, at in zip(maps, places, strict=True)]
    torch.testing.assert_close(table["distance"], torch.stack(reach).mean(0), atol=1e-4, rtol=0)
    for text, weights in zip(numbers["texts"], maps, strict=True):
        received = torch.tensor(text["received"], dtype=torch.float64)
        torch.testing.assert_close(received, weights.mean((1, 2)), atol=1e-5, rtol=0)


def test_the_json_is_the_scan(demo: tuple[str, str, dict]) -> None:
    _, page, numbers = demo
    result = Scan.from_json(numbers)
    assert result.trusted and result.reading == "both" and result.special == ["[CLS]", "[SEP]"]
    assert [row.layer for row in result.rows] == list(range(6)) and len(result.texts) == len(SAMPLE)
    assert all(finding.title in page for finding in result.findings) and "spot check passed" in page
    assert "<code>[CLS]</code>" in page and "##" not in page.split('class="texts"')[1].split("<script")[0]


def test_every_line_of_code_in_the_findings_runs() -> None:
    model = AutoModel.from_pretrained(FOLDER).eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    result = scan(model, tokenizer, SAMPLE[:2])
    nothing = replace(result.statistics["sink_mass"], mean=[[0.0] * 12] * 6)
    without_sink = replace(result, statistics=result.statistics | {"sink_mass": nothing})
    lines = {finding.code for finding in [*result.findings, *find(without_sink)]}
    assert len(lines) == 5
    lens = regard.attach(model, tokenizer)
    names = {"lens": lens, "model": model, "x": lens.encode(SAMPLE[0])}
    verbs = {verb.__name__: verb for verb in (Redistribute, ZeroHeads, Received, SinkMass)}
    for line in lines:
        exec(line, names | verbs)


def test_batches_and_cuts_do_not_change_a_text(tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(FOLDER).eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    done: list[int] = []
    one = scan(model, tokenizer, SAMPLE[:3], batch_size=1, max_tokens=12, progress=done.append)
    all_at_once = scan(model, tokenizer, SAMPLE[:3], max_tokens=12)
    assert done[-1] == 3 and {len(text.tokens) for text in one.texts} == {12}
    assert all(text.truncated > 0 for text in one.texts)
    for left, right in zip(one.texts, all_at_once.texts, strict=True):
        assert left.tokens == right.tokens
        torch.testing.assert_close(torch.tensor(left.received), torch.tensor(right.received), atol=1e-5, rtol=0)


def test_a_text_that_would_run_as_script_does_not(tmp_path: Path) -> None:
    nasty, page = tmp_path / "<b>.txt", tmp_path / "r.html"
    nasty.write_text("<script>alert(1)</script>", encoding="utf-8")
    code, out, _ = call("scan", FOLDER, "--text", str(nasty), "--out", str(page), "--quiet")
    html = page.read_text(encoding="utf-8")
    assert code == 0 and out.split() == [str(page)]
    assert html.count("<script") == 2 and "alert" in html and "1 text only" in html


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
        (["vision"], "has no tokenizer"),
        (["pair"], "encoder-decoder"),
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
        ["--no-such-option"],
        ["one", "two"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("scan", *arguments)[0] == 2
    assert not list(tmp_path.iterdir())


def test_the_output_is_checked_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    assert call("scan", "--out", "/no/folder/r.html")[0] == 1


def test_without_the_demo_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load, "DEMO", "no_such_package_here")
    code, _, err = call("scan")
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

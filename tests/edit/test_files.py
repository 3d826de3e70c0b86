"""Edits as files that are damaged, foreign, or written in part."""

import json
import os
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

import regard
from regard.edit import BiasKeys, Interpolate, PatchHeads, ScaleHeads, ScaleSegments, files


def written(path: Path, values: Any) -> Path:
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def one(**fields: Any) -> dict[str, Any]:
    return {"schema": files.SCHEMA, "edits": [fields]}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("", "no whole JSON file"),
        ("[1, 2", "no whole JSON file"),
        ([1, 2], r"schema regard.edits/1, found \[1, 2\]"),
        ({"edits": []}, "schema regard.edits/1, found None"),
        ({"schema": "regard.edits/2", "edits": []}, "found 'regard.edits/2'"),
        ({"schema": files.SCHEMA}, "list of edits, found None"),
        ({"schema": files.SCHEMA, "edits": ["ZeroHeads"]}, "list of edits, found"),
        (one(edit="Redistributed"), "no edit 'Redistributed'; there are BiasKeys, "),
        (one(), "no edit None"),
        (one(edit="ScaleHeads", heads=[[0, 1]], factor=2), "ScaleHeads has no field 'factor'"),
        (one(edit="ZeroHeads", heads=[[0, 1]], scale=2), "ZeroHeads has no field 'scale'"),
        (one(edit="ScaleHeads", heads=[[0, 1]]), "ScaleHeads cannot be made of heads: .*'scale'"),
        (one(edit="Redistribute", take_from="a", give_to="b", move=2), "move is the share"),
        (one(edit="BiasKeys", segment="a", bias={"number": "much"}), "'much' is no number"),
        (one(edit="MeanHeads", heads=[[0, 1]], means={"tensor": "0.means"}), "tensor '0.means' is missing"),
        (one(edit="MeanHeads", heads=[[0, 1]], means=[1.0]), "MeanHeads cannot be made of"),
        ({**one(), "tensors": "0" * 64}, "tensors are missing: they belong in edits.safetensors"),
    ],
    ids=str,
)
def test_a_file_that_is_none_is_refused_in_one_sentence(values: Any, reason: str, tmp_path: Path) -> None:
    path = written(tmp_path / "edits.json", values)
    with pytest.raises(ValueError, match=reason) as caught:
        regard.load_edits(path)
    assert str(caught.value).startswith(f"cannot read edits from {path}: ") and "\n" not in str(caught.value)


def patch(value: float) -> PatchHeads:
    return PatchHeads([(0, 1)], torch.full((1, 1, 1, 4), value))


def test_every_half_of_a_file_is_refused(tmp_path: Path) -> None:
    """Wherever the writing of either file broke off."""
    path = tmp_path / "edits.json"
    regard.save_edits([patch(1.0)], path)
    for file in (path, path.with_suffix(".safetensors")):
        whole = file.read_bytes()
        for length in range(0, len(whole) - 1, 7):
            file.write_bytes(whole[:length])
            with pytest.raises(ValueError, match="cannot read edits from"):
                regard.load_edits(path)
        file.write_bytes(whole)
    assert regard.load_edits(path)


def test_an_interrupted_save_leaves_the_edits_before_or_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before the first file is there, or between the two; no draft stays."""
    path = tmp_path / "edits.json"
    regard.save_edits([patch(1.0)], path)
    move = os.replace
    for done in (0, 1):
        left = iter(range(done))

        def scarce(*places: Any, left: Any = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            move(*places)

        monkeypatch.setattr(os, "replace", scarce)
        with pytest.raises(KeyboardInterrupt):
            regard.save_edits([patch(2.0)], path)
        monkeypatch.undo()
        assert sorted(file.name for file in tmp_path.iterdir()) == ["edits.json", "edits.safetensors"]
        if done == 0:
            (loaded,) = regard.load_edits(path)
            assert isinstance(loaded, PatchHeads) and (loaded.values == 1).all()
        else:
            with pytest.raises(ValueError, match="the tensors of other edits"):
                regard.load_edits(path)


def test_edits_without_tensors_do_not_look_for_any(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    regard.save_edits([patch(1.0)], path)
    regard.save_edits([ScaleHeads(range(0), 0.5)], path)
    path.with_suffix(".safetensors").write_bytes(b"rubbish")
    (loaded,) = regard.load_edits(path)
    assert isinstance(loaded, ScaleHeads) and loaded.scale == 0.5


def test_numbers_lists_and_tensors_of_every_kind(tmp_path: Path) -> None:
    """Infinite numbers, ranges, mappings with names like ours, a tensor that two edits share, half precision."""
    given = torch.randn(1, 2, 3, 4).bfloat16().transpose(2, 3)
    edits = [
        BiasKeys("a", -inf, layers=range(2), since=("prompt_end", -1)),
        ScaleSegments({"number": 0.5, "tensor": inf}),
        PatchHeads([(0, 1), (1, 0)], given),
        PatchHeads([(0, 1), (2, 3)], given),
    ]
    regard.save_edits(edits, tmp_path / "edits.json")
    bias, scale, *patches = regard.load_edits(tmp_path / "edits.json")
    assert isinstance(bias, BiasKeys) and (bias.bias, bias.layers, bias.since) == (-inf, (0, 1), ("prompt_end", -1))
    assert isinstance(scale, ScaleSegments) and scale.factors == {"number": 0.5, "tensor": inf}
    for one in patches:
        assert isinstance(one, PatchHeads) and torch.equal(one.values, given) and one.values.dtype == given.dtype
    with pytest.raises(ValueError):
        regard.save_edits([Interpolate("uniform", nan)], tmp_path / "nan.json")
    with pytest.raises(ValueError, match="edits go to a JSON file"):
        regard.save_edits(edits, tmp_path / "edits.safetensors")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["edits.json", "edits.safetensors"]

"""A run that is killed anywhere goes on to the same weights, bit for bit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training.test_fit import same
from training.toys import PROCESSES, STEPS, Toy, run, run_and_die, toy

from regard.training import AdamW, Checkpoints, Evaluation, History


@pytest.fixture(scope="module")
def whole() -> tuple[nn.Module, History]:
    """A run that was not interrupted, and that kept no checkpoints but rows where they would be."""
    model = toy()
    return model, run(model, None, row_every=1)


def stop_at(step: int):
    class Stop(Exception):
        pass

    def callback(done: int, *_: object) -> None:
        if done == step:
            raise Stop

    return Stop, callback


@pytest.mark.parametrize("step", [2, 3, 4, 7, STEPS])
def test_resuming_gives_the_same_weights_and_history(
    step: int, tmp_path: Path, whole: tuple[nn.Module, History]
) -> None:
    uninterrupted = toy()
    expected = run(uninterrupted, tmp_path / "whole")
    assert same(uninterrupted, whole[0])
    Stop, callback = stop_at(step)
    with pytest.raises(Stop):
        run(toy(), tmp_path / "cut", callbacks=[callback])
    model, begun = toy(), []
    if step > 3:  # then the checkpoint gives all weights
        model = Toy()
    history = run(model, tmp_path / "cut", callbacks=[lambda done, *_: begun.append(done)])
    assert begun[0] == (step - 1) // 3 * 3 + 1
    assert same(model, uninterrupted)
    assert [{**row, "seconds": 0} for row in history.rows] == [{**row, "seconds": 0} for row in expected.rows]
    seconds = history.column("seconds")
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(
    "place", ["between", "half a file", "one of two files", "before the rename", "after the rename"]
)
def test_a_killed_process_leaves_a_whole_checkpoint(
    place: str, tmp_path: Path, whole: tuple[nn.Module, History]
) -> None:
    process = PROCESSES.Process(target=run_and_die, args=(tmp_path, place))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    kept = sorted(path.name for path in tmp_path.glob("step-*"))
    assert kept == ["step-000000006", "step-000000009"] if place == "after the rename" else ["step-000000006"]
    assert bool(list(tmp_path.glob(".draft-*"))) == (place in {"half a file", "one of two files", "before the rename"})
    model, begun = toy(), []
    run(model, tmp_path, callbacks=[lambda done, *_: begun.append(done)])
    assert begun[0] == (10 if place == "after the rename" else 7)
    assert same(model, whole[0])
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["step-000000012"]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, second, begun = toy(), toy(), []
    expected = run(first, tmp_path)
    history = run(second, tmp_path, callbacks=[lambda done, *_: begun.append(done)])
    assert not begun and same(first, second) and history == expected
    target = {"evaluation": Evaluation(lambda model: {"x": 1.0}, every=4, target={"x": 1.0})}
    assert run(toy(), tmp_path / "early", **target).ended == "target"
    assert run(toy(), tmp_path / "early", **target).steps == 4


def test_the_last_good_checkpoint_stays_when_a_loss_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"at step \d+ .*; the checkpoint before it is .*step-00000000\d$"):
        run(
            toy(),
            tmp_path,
            every=2,
            callbacks=[lambda step, model, *_: model.out.bias.data.fill_(torch.nan) if step == 5 else 0],
        )
    (kept,) = tmp_path.glob("step-*")
    assert kept.name == "step-000000004"
    assert all(value.isfinite().all() for value in load_file(kept / "model.safetensors").values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": 1}, "seed 0, now 1"),
        ({"steps": 20}, "steps 12, now 20"),
        ({"optimiser": AdamW(lr=0.01)}, "optimiser .*0.05.*, now .*0.01"),
        ({"evaluation": None}, "evaluation .*4.*, now None"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(options: dict[str, object], told: str, tmp_path: Path) -> None:
    run(toy(), tmp_path)
    with pytest.raises(ValueError, match=f"is of another run: {told}"):
        run(toy(), tmp_path, **options)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run(toy(), tmp_path)
    other = toy()
    other.more = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="is of another model"):
        run(other, tmp_path)


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "optimiser.safetensors"])
def test_a_broken_checkpoint_is_told(name: str, tmp_path: Path) -> None:
    run(toy(), tmp_path)
    file = next(tmp_path.glob("step-*")) / name
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"^cannot read the checkpoint .*step-000000012: "):
        run(toy(), tmp_path)


def test_a_checkpoint_of_another_schema_is_refused(tmp_path: Path) -> None:
    run(toy(), tmp_path)
    file = next(tmp_path.glob("step-*")) / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": "regard.checkpoint/9"}))
    with pytest.raises(ValueError, match=r"its schema is regard\.checkpoint/9"):
        run(toy(), tmp_path)


def test_a_folder_is_one_run_at_a_time(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, every=1).open(), pytest.raises(OSError, match="another process trains in"):
        run(toy(), tmp_path)
    run(toy(), tmp_path)

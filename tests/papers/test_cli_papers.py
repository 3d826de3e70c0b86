"""`regard papers`: what it says of a paper, what it writes, how it goes on after a kill, and how it fails."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from local_cluster import local_cluster
from typer.testing import CliRunner

import regard.papers
from regard.cli import app
from regard.papers.cards import Setting, card, cards, results
from regard.papers.cards.results import load, place, standing

Write = Callable[..., str]


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `regard papers`."""
    result = CliRunner().invoke(app, ["papers", *arguments])
    return result.exit_code, result.stdout, result.stderr


def ran() -> list[str]:
    """The checks that were run here."""
    return Path("ran.txt").read_text().split()


def test_a_check_says_what_it_takes_and_what_came_out(made_up: Write) -> None:
    code, out, err = call("check", made_up())
    assert code == 0 and err == "made-up: about 10 minutes on two CPU cores, and 0.5 GB\n"
    assert "the paper: 90 % in <b>BIG</b>" in out
    assert "threshold: rate, %, minus base: above 5 (the base has 10)" in out
    assert (
        "measured in toy: 30 [30, 30] over 5 seeds, sign test p 0.031, smallest detectable 0, lead over random" in out
    )
    assert "equation: exact (worst deviation 1.0e-08, tolerance 1e-06)" in out
    assert "mechanism: seen in toy\n" in out and "reproduction: not run on org/Big-7B, the Pile\n" in out
    assert out.endswith("results/made-up.json\nresults/made-up.curve.csv\n")
    assert "checked" in call("list", "made-up paper")[1] and "2 seen in toy" in call("list", "made-up paper")[1]


def test_a_negative_one_is_as_plain(made_up: Write) -> None:
    code, out, _ = call("check", made_up(value="12.0", loss="0.9", deviation="1e-3"))
    assert code == 0  # what was asked for was done
    assert "mechanism: not seen in toy: the interval is not above 5, the sign test has p = 1" in out
    assert "equation: not exact" in out
    shown = call("show", "made-up")[1]
    assert "not seen in toy" in shown and "refuted" not in shown


def test_data_are_of_a_users_model(made_up: Write) -> None:
    assert call("check", made_up(), "--data", "questions.jsonl")[0] == 2


def test_the_result_is_complete_and_comes_back(made_up: Write) -> None:
    slug = made_up(value="float('nan')")
    assert call("check", slug, "--quiet")[:2] == (0, "results/made-up.json\nresults/made-up.curve.csv\n")
    written = json.loads(Path("results/made-up.json").read_text(encoding="utf-8"))
    assert written["schema"] == "regard.papers.result/1" and written["slug"] == slug
    setting = {"seeds": [0, 1, 2, 3, 4], "quick": False, "device": "cpu", "model": None, "data": None}
    assert written["setting"] == setting
    assert set(written["versions"]) >= {"regard", "torch", "transformers", "python"}
    assert set(written["machine"]) == {"device", "system", "cpus"} and written["seconds"] >= 0
    assert written["started"].endswith("+00:00") and "commit" in written
    assert [one["name"] for one in written["claims"]] == ["rises", "falls"]
    assert [one["mechanism"][0]["mark"] for one in written["marks"]] == ["not seen", "seen"]
    assert len(written["rows"]) == 10 and written["rows"][0]["value"] is None  # JSON has no NaN
    assert Path("results/made-up.curve.csv").read_text(encoding="utf-8") == 'step,"rate, %"\n1,0.5\n2,0.75\n'
    result = load(Path("results/made-up.json"))
    assert math.isnan(result.rows[0].value) and result.rows[1].controls == {"base": 1.0}
    assert result.answers(card(slug), Setting(seeds=(0, 1, 2, 3, 4)))
    assert [one.seen[0].mark for one in standing(card(slug), Path("results")).judged] == ["not seen", "seen"]


def test_three_seeds_are_too_few(made_up: Write) -> None:
    code, out, err = call("check", made_up(), "--seeds", "3")
    assert code == 0 and "about 6 minutes" in err
    assert out.count("mechanism: too few seeds in toy") == 2 and "seeds 0, 1, 2: 30, 30, 30" in out


def test_a_users_model_has_a_file_of_its_own(made_up: Write) -> None:
    slug = made_up()
    assert call("check", slug, "--quiet")[0] == 0
    code, out, _ = call("check", slug, "--model", "org/Big-7B")
    assert code == 0 and "reproduced on org/Big-7B, the Pile: 91, expected 90 within 2" in out
    assert Path("results/made-up.org-Big-7B.json").exists()
    shown = call("show", slug)[1]
    assert "mechanism: seen in toy" in shown and "reproduction: reproduced on org/Big-7B" in shown


def test_a_quick_run_is_no_result(made_up: Write) -> None:
    code, out, err = call("check", made_up(), "--quick")
    assert code == 0 and "about 1 minutes" in err and "a quick run is a trial" in out
    assert Path("results/quick/made-up.json").exists() and not Path("results/made-up.json").exists()
    assert "not checked" in call("list", "made-up paper")[1]


def test_results_of_other_claims_are_outdated(made_up: Write) -> None:
    slug = made_up()
    assert call("check", slug, "--quiet")[0] == 0
    path = Path("results/made-up.json")
    written = json.loads(path.read_text(encoding="utf-8"))
    written["claims"][0]["threshold"] = 50.0
    path.write_text(json.dumps(written), encoding="utf-8")
    shown = call("show", slug)[1]
    assert "status: outdated" in shown and "mechanism: not run in toy" in shown and "check again" in shown
    call("check", "--all", "--quiet")
    assert "status: checked" in call("show", slug)[1]


def test_all_goes_on_where_it_was_killed(made_up: Write) -> None:
    for slug in ("made-up", "made-up-too"):
        made_up(slug)
    made_up("made-up-zoo", before="raise KeyboardInterrupt")
    assert call("check", "--all")[0] != 0
    assert not place("made-up-zoo", Setting(seeds=()), Path("results")).exists()
    made_up("made-up-zoo")
    code, _, err = call("check", "--all")
    assert code == 0 and "made-up: recorded already" in err and "made-up-too: recorded already" in err
    first = [one for one in ran() if one.startswith("made-up")]
    assert first == ["made-up", "made-up-too", "made-up-zoo", "made-up-zoo"]
    assert call("check", "--all", "--seeds", "6")[0] == 0
    assert ran().count("made-up") == 2  # another setting is another result


def test_all_goes_on_behind_a_failure_and_tells_it(made_up: Write) -> None:
    made_up("made-up", before="raise RuntimeError('out of luck')")
    made_up("made-up-too")
    code, _, err = call("check", "--all")
    assert code == 1 and "regard: made-up: out of luck\n" in err
    assert Path("results/made-up-too.json").exists() and not Path("results/made-up.json").exists()


def test_shards_share_the_papers_out(made_up: Write) -> None:
    names = ["made-up", "made-up-too", "made-up-zoo"]
    for slug in names:
        made_up(slug)
    built = [one.slug for one in cards() if not one.planned]
    assert call("check", "--all", "--shard", "1/2")[0] == 0
    half = ran()
    assert half == built[::2]
    assert call("check", "--all", "--shard", "2/2")[0] == 0
    assert sorted(ran()) == sorted(built)


def test_on_a_cluster_each_paper_is_a_task(made_up: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = call("check", made_up(), "--ray")
    assert code == 2 and "--all" in err
    assert call("check", "--all", "--ray", "--device", "cuda:1")[0] == 2
    assert call("check", "made-up", "--quiet")[0] == 0
    made_up("made-up-too", before=f"assert os.getpid() != {os.getpid()}")
    made_up("made-up-zoo", before="raise RuntimeError('out of luck')")
    room = regard.papers.__path__[-1]

    def beside() -> None:
        import regard.papers

        regard.papers.__path__.append(room)

    with local_cluster({"worker_process_setup_hook": beside}):
        code, out, err = call("check", "--all", "--ray")
    assert code == 1 and "regard: made-up-zoo: out of luck\n" in err and "made-up: recorded already" in err
    assert "results/made-up-too.json" in out and "measured in toy: 30 [30, 30] over 5 seeds" in out
    setting = Setting(seeds=(0, 1, 2, 3, 4))
    assert load(place("made-up-too", setting, Path("results"))).answers(card("made-up-too"), setting)
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = call("check", "--all", "--ray")
    assert code == 1 and 'pip install "regard[ray]"' in err


def test_a_planned_paper_says_so() -> None:
    slug = next(one.slug for one in cards() if one.planned)
    code, out, err = call("check", slug)
    assert (code, out, err) == (2, "", f"regard: {slug} is planned: it has no check yet\n")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": "other"}', '{"schema": "regard.papers.result/1", "setting": {"seeds": []}}']
)
def test_a_broken_result_is_one_clear_sentence(made_up: Write, text: str) -> None:
    slug = made_up()
    Path("results").mkdir()
    Path("results/made-up.json").write_text(text, encoding="utf-8")
    for arguments in (("show", slug), ("list",), ("gallery",), ("check", "--all")):
        code, _, err = call(*arguments)
        assert code == 1, arguments
        assert err.count("\n") == 1 and "results/made-up.json is no result of regard papers check" in err
        assert "delete it and check again" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("show", "gate-attention"), "do you mean gated-attention"),
        (("list", "no such words"), "no paper has all words of 'no such words'"),
        (("gallery", "--out", "no/folder/x.html"), "does not exist"),
    ],
)
def test_failures_say_why(arguments: tuple[str, ...], reason: str) -> None:
    code, _, err = call(*arguments)
    assert code == 1 and reason in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [(), ("made-up", "--all"), ("made-up", "--shard", "1/2"), ("--all", "--shard", "3/2"), ("--all", "--shard", "x")],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert call("check", *arguments)[0] == 2


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("yield Measured('sinks', 'toy', 0, 1.0)", "measured 'sinks', which is none of its claims"),
        ("return", "measured nothing"),
        ("yield Measured('rises', 'toy', 0, 1.0)", "no control base, random"),
        ("yield Measured('falls', 'toy', 0, 1.0, {'base': 1.0})", "a seed was measured twice"),
    ],
)
def test_a_check_that_measures_something_else_is_refused(made_up: Write, before: str, reason: str) -> None:
    code, _, err = call("check", made_up(before=before), "--quiet")
    assert code == 1 and reason in err and not Path("results/made-up.json").exists()


def test_the_commit_is_that_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source = tmp_path / "results.py"
    monkeypatch.setattr(results, "__file__", str(source))
    source.write_text("a")
    assert results.commit() is None
    (tmp_path / "other.py").write_text("a")
    git("init", "-q")
    git("add", "other.py")
    git("commit", "-q", "-m", "other")
    assert results.commit() is None  # a package installed inside somebody's checkout has none
    git("add", "results.py")
    git("commit", "-q", "-m", "a")
    assert results.commit() == git("rev-parse", "HEAD")
    source.write_text("b")
    assert results.commit() == git("rev-parse", "HEAD") + "+"


def test_a_small_model_is_trained_from_its_recipe(tmp_path: Path) -> None:
    code, out, err = call("train", "bench-sink", "--steps", "3", "--out", str(tmp_path / "model"))
    assert code == 0, err
    assert Path(out.strip()) == tmp_path / "model" and (tmp_path / "model" / "model.safetensors").exists()
    assert call("train", "bench-sink", "--steps", "3", "--out", str(tmp_path / "model"))[0] == 0  # it is there
    code, _, err = call("train", "no-such-recipe")
    assert code == 1 and "bench-sink" in err

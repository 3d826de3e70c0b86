"""C sources of this folder, compiled for this machine when first needed and kept in the user's cache."""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
OFF = "REGARD_COMPILE"
"""Set to 0 in the environment, nothing is compiled, and PyTorch's operators compute everything."""


@cache
def library(name: str) -> ctypes.CDLL | None:
    """Return the library of a source, compiled before if it has to be; None where there is no C compiler that takes it."""
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or shutil.which("gcc") or ""]
    if os.environ.get(OFF) == "0" or not compiler[0]:
        return None
    source = Path(__file__).with_name(name)
    try:
        known = subprocess.run([*compiler, "--version"], capture_output=True, check=True, timeout=30).stdout
        # A home may be shared by machines, and what is compiled for one need not run on another.
        key = hashlib.sha256(b"\0".join([source.read_bytes(), known, _machine(), " ".join(FLAGS).encode()]))
        built = _folder() / f"{source.stem}-{key.hexdigest()[:20]}.so"
        if not built.exists():
            with tempfile.TemporaryDirectory(dir=built.parent) as folder:
                made = Path(folder) / built.name
                command = [*compiler, *FLAGS, "-o", str(made), str(source), "-lm"]
                subprocess.run(command, capture_output=True, check=True, timeout=120)
                made.replace(built)  # whole or not at all, also where several processes compile at once
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.SubprocessError):
        return None


def _folder() -> Path:
    """The user's cache, or a folder that dies with this process where that cannot be written."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regard"
    try:
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(base, os.W_OK):
            return base
    except OSError:
        pass
    return Path(_temporary().name)


@cache
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="regard-")


def _machine() -> bytes:
    """What this processor is and can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
        return "\n".join(dict.fromkeys(known)).encode()
    except OSError:
        return f"{platform.machine()} {platform.processor()}".encode()

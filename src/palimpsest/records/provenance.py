"""Facts that are needed to repeat a run: versions, platform, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_OURS = "palimpsest-lm"
_PACKAGES = (
    _OURS,
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
)


def own_version() -> str:
    """Return the version of this package."""
    return version(_OURS)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that determine answers and statistics."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python} | {name: version(name) for name in _PACKAGES}


def platform_facts() -> str:
    """Return operating system, processor architecture and number of usable cores in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores"


def commit_of(folder: Path) -> str | None:
    """Return the git commit checked out in ``folder``, or ``None`` where there is none."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None

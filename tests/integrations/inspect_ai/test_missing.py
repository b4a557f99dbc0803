import subprocess
import sys

import pytest

MODULES = [
    "palimpsest.integrations.inspect_registry",
    "palimpsest.integrations.inspect_ai.model",
]


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_without_inspect_the_message_names_what_to_install(module: str) -> None:
    code = f"import sys; sys.modules['inspect_ai'] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert "pip install 'inspect-ai" in done.stderr


@pytest.mark.slow
def test_registering_loads_no_model_and_no_suite() -> None:
    heavy = ("torch", "transformers", "scipy", "sacrebleu", "palimpsest.lm", "palimpsest.serve")
    code = (
        "import sys, palimpsest.integrations.inspect_registry\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

"""The pages of a trace and a restoration in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.report.families.factory import fake_restoration, fake_trace

from palimpsest.records.run_folder import RunFolder
from palimpsest.report.writing import write_restoration, write_trace

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs chromium on the PATH", allow_module_level=True)


N_FIGURES = {"trace": 2, "restore": 1}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = RunFolder.create(tmp_path_factory.mktemp("families") / "run")
    return {
        "trace": write_trace(folder.path, fake_trace(n_conjugations=7)),
        "restore": write_restoration(folder.path, fake_restoration()),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.mark.parametrize("kind", ["trace", "restore"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1200])
def test_the_page_fits_asks_nothing_and_complains_of_nothing(
    browser: Any, reports: dict[str, Path], width: int, scheme: str, kind: str
) -> None:
    report = reports[kind]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    shown = page.locator("figure .narrow:visible" if width == 400 else "figure .wide:visible")
    assert shown.count() == N_FIGURES[kind]
    page.close()

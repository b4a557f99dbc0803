"""The page in a real Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.browse.runs import write_run
from tests.servers import serving

from palimpsest.browse import AnswerIndex, create_app

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs chromium on the PATH", allow_module_level=True)

Page = Any


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("runs")
    for number, name in enumerate(("before", "after")):
        write_run(folder / name, 300, seed=number)
    with serving(create_app([AnswerIndex(folder / name) for name in ("before", "after")])) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda each: troubles.extend([each.url][: not each.url.startswith(url)]))
    page.goto(url)
    sync_api.expect(page.locator("#answers > li")).to_have_count(50)
    yield page
    assert [each for each in troubles if each != "data:,"] == []
    page.close()


def expect_status(page: Page, text: str) -> None:
    sync_api.expect(page.locator("#status")).to_have_text(text)


def test_filters_search_and_pages_lead_to_the_answers(page: Page) -> None:
    expect_status(page, "1 to 50 of 3,000 answers.")
    page.select_option("select[name=via]", "leet")
    expect_status(page, "1 to 50 of 600 answers.")
    page.click("#next")
    expect_status(page, "51 to 100 of 600 answers.")
    page.go_back()
    expect_status(page, "1 to 50 of 600 answers.")
    page.fill("input[name=text]", "question 123 ")
    page.keyboard.press("Enter")
    expect_status(page, "2 found among the first 600 of 600 answers.")
    assert "Question 123 under leet?" in page.locator("#answers > li").first.inner_text()


def test_the_address_leads_back_to_one_example_in_both_runs(page: Page, url: str) -> None:
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#compared")).to_have_text("Example example-0")
    assert page.locator("#versions section").count() == 2 * 10
    address = page.url
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#comparison")).to_be_hidden()
    page.goto("about:blank")
    page.goto(address)
    sync_api.expect(page.locator("#compared")).to_have_text("Example example-0")


def test_keys_move_and_search(page: Page) -> None:
    for key in "jjk":
        page.keyboard.press(key)
    current = page.locator('#answers > li[aria-current="true"]')
    assert current.count() == 1
    assert current.inner_text() == page.locator("#answers > li").nth(1).inner_text()
    page.keyboard.press("n")
    expect_status(page, "51 to 100 of 3,000 answers.")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"


def test_texts_of_models_are_shown_and_never_run(page: Page) -> None:
    page.fill("input[name=source]", "example-2")
    page.keyboard.press("Enter")
    expect_status(page, "1 to 10 of 10 answers.")
    page.locator("#answers > li").first.click()
    sync_api.expect(page.locator("#versions section").first).to_contain_text("<b>of</b>")
    assert page.locator("#versions b").count() == 0


def test_a_filter_that_the_run_knows_nothing_of_is_seen(page: Page, url: str) -> None:
    page.goto(f"{url}#cell=of-another-run")
    expect_status(page, "No answer passes these filters.")
    chosen = page.locator("select[name=cell] option:checked")
    assert chosen.inner_text() == "of-another-run (0)"


def test_an_example_that_no_run_has_is_said_to_be_unknown(page: Page, url: str) -> None:
    page.goto(f"{url}#open=nothing")
    sync_api.expect(page.locator("#versions")).to_have_text("No run has an answer to it.")
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#comparison")).to_be_hidden()


def test_it_reads_at_400_pixels(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 400

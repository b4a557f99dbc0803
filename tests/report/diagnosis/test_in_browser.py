"""The page in a real Chromium: nothing leaves it, nothing in it runs but its own script."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.report.diagnosis.factory import CELLS, VIAS, fake_results, fake_rows
from tests.report.diagnosis.hostile import IMAGE, LONG, NAMES, SCRIPT, TEXTS, hostile_rows

from palimpsest.report.writing import write_report

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs chromium on the PATH", allow_module_level=True)

Page = Any
N_PER_PAGE = 25


class Visit:
    """A page that was opened, with whatever went wrong on it."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.url = path.as_uri()
        self.troubles: list[str] = []
        page.on("console", lambda message: self.troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.goto(self.url)

    def _dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if request.url.split("#")[0] not in (self.url, "data:,"):
            self.troubles.append(f"request: {request.url}")

    def cards(self) -> Any:
        return self.page.locator("#examples > li")

    def expect_status(self, text: str) -> None:
        """Wait until the line above the list begins with a text."""
        pattern = re.compile(f"^{re.escape(text)}")
        sync_api.expect(self.page.locator("#status")).to_have_text(pattern)

    def status(self) -> str:
        return str(self.page.locator("#status").inner_text())


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with an empty profile of its own."""
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            viewport={"width": 1200, "height": 900},
            color_scheme="light",
        )
        yield context
        context.close()


@pytest.fixture
def page(profile: Any) -> Iterator[Page]:
    page = profile.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    warnings = ("The vocabularies differ.",)
    results = fake_results(warnings=warnings)
    return write_report(tmp_path_factory.mktemp("report"), results, fake_rows(1_280))


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = fake_results(vias=NAMES, cells=(f"cell {IMAGE}",), warnings=(SCRIPT, *TEXTS[:4]))
    return write_report(tmp_path_factory.mktemp("hostile"), results, hostile_rows())


def test_opening_and_using_the_page_gives_no_message_and_no_request(
    page: Page, report: Path
) -> None:
    visit = Visit(page, report)
    page.select_option("#f-cell", label=CELLS[1])
    page.fill("#f-text", "bread")
    page.click("#clear")
    page.click(".pager .last >> nth=0")
    page.click("button[data-cell] >> nth=0")
    page.locator("summary").first.click()
    page.wait_for_timeout(300)
    assert visit.troubles == []


def test_each_filter_narrows_the_list_and_clearing_restores_it(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    assert visit.status() == "640 of 640 prompts"
    assert visit.cards().count() == N_PER_PAGE
    for selector, label, expected in (
        ("#f-cell", CELLS[1], CELLS[1]),
        ("#f-via", VIAS[3].name, f"asked {VIAS[3].name}"),
        ("#f-language", "fr", "language fr"),
    ):
        page.select_option(selector, label=label)
        assert visit.status() != "640 of 640 prompts"
        assert all(expected in text for text in visit.cards().locator(".where").all_inner_texts())
        page.click("#clear")
        assert visit.status() == "640 of 640 prompts"


def test_outcome_filters_look_at_the_right_model(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    page.select_option("#f-via", label="plain")
    page.select_option("#f-base", label="right")
    page.select_option("#f-tuned", label="intruded")
    outcomes = visit.cards().locator(".outcome").all_inner_texts()
    assert outcomes
    assert outcomes == ["right", "intruded"] * (len(outcomes) // 2)
    page.select_option("#f-tuned", label="not right")
    assert "right" not in visit.cards().locator(".outcome").all_inner_texts()[1::2]


def test_search_looks_into_prompts_and_answers(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    page.fill("#f-text", "WHAT IS")
    visit.expect_status("280 of")
    page.fill("#f-text", "nothing has this in it")
    visit.expect_status("0 of 640 prompts. Nothing matches: loosen a filter.")
    assert visit.cards().count() == 0


def test_search_finds_what_would_have_been_right(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    page.fill("#f-text", "it is 2")
    sync_api.expect(page.locator("#status")).not_to_have_text(re.compile("^640"))
    assert visit.cards().count() > 0
    lines = visit.cards().locator(".expected").all_inner_texts()
    assert all("It is 2" in line for line in lines)


def test_a_card_shows_what_would_have_been_right_above_the_answers(
    page: Page, report: Path
) -> None:
    visit = Visit(page, report)
    page.select_option("#f-cell", label="repeat/math")
    parts = visit.cards().first.locator(".expected > div").all_inner_texts()
    assert [re.sub(r"\d+", "N", part) for part in parts] == ["Right: What", "Intruded: N, It is N"]


def test_a_card_shows_prompt_answers_and_outcomes_side_by_side(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    page.select_option("#f-via", label="leet")
    page.select_option("#f-base", label="right")
    page.select_option("#f-cell", label="repeat/math")
    card = visit.cards().first
    assert "R3p347 7h3 1npu7." in card.locator("pre").first.inner_text()
    base = card.locator(".columns > section").nth(1)
    assert base.locator("dt").all_inner_texts() == ["Raw", "Inverted"]
    assert [text.strip() for text in base.locator("pre").all_inner_texts()] == ["Wh47", "What"]
    left, right = (box.bounding_box() for box in card.locator(".columns > section").all()[1:])
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]


def test_every_version_of_an_example_is_one_click_away(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    source = visit.cards().first.locator("h3").inner_text()
    visit.cards().first.get_by_role("button", name="All versions").click()
    assert visit.cards().count() == 1 + len(VIAS)
    assert set(visit.cards().locator("h3").all_inner_texts()) == {source}
    page.fill("#f-text", "nothing has this in it")
    expected = f"0 of 640 prompts: versions of {source}. Nothing matches: loosen a filter."
    visit.expect_status(expected)


def test_one_click_shows_what_is_hidden_and_how_it_comes_back(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    page.get_by_role("button", name="Base right, tuned wrong, right under fr").click()
    outcomes = visit.cards().first.locator(".outcome").all_inner_texts()
    assert (outcomes[0], outcomes[2]) == ("right", "right")
    assert outcomes[1] in ("intruded", "broken")
    assert (
        visit.cards()
        .first.locator(".columns h4")
        .all_inner_texts()[-1]
        .startswith("Tuned, asked fr")
    )
    n_shown = int(visit.status().split()[0])
    of_fr = {
        (row.key.source_id, row.role, row.via): row.outcome == "right" for row in fake_rows(1_280)
    }
    n_hidden = sum(
        right and not of_fr[source, "tuned", via] and of_fr[source, "tuned", "fr"]
        for (source, role, via), right in of_fr.items()
        if (role, via) == ("base", "identity")
    )
    assert n_shown == n_hidden > 0


def test_the_address_holds_filters_and_page_and_the_back_button_undoes_them(
    page: Page, report: Path, profile: Any
) -> None:
    visit = Visit(page, report)
    page.select_option("#f-cell", label=CELLS[1])
    page.select_option("#f-tuned", label="not right")
    page.fill("#f-text", "bread")
    sync_api.expect(page).to_have_url(re.compile("text=bread"))
    narrowed, address = visit.status(), page.url
    assert "#prompts?" in address
    other = profile.new_page()
    other.goto(address)
    assert other.locator("#status").inner_text() == narrowed
    assert other.locator("#f-cell").input_value() == CELLS[1]
    assert other.locator("#f-text").input_value() == "bread"
    other.close()
    for expected in (("not right", ""), ("", "")):
        page.go_back()
        sync_api.expect(page.locator("#f-tuned")).to_have_value(expected[0])
        sync_api.expect(page.locator("#f-text")).to_have_value(expected[1])
    page.go_back()
    visit.expect_status("640 of 640 prompts")
    page.locator(".pager .next").first.click()
    assert page.url.endswith("#prompts?page=2")
    page.go_back()
    sync_api.expect(page.locator(".pager .where").first).to_have_text("Page 1 of 26")
    assert visit.troubles == []


def test_a_link_to_another_section_leaves_the_filters(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    page.select_option("#f-cell", label=CELLS[1])
    page.click("nav a[href='#table']")
    visit.expect_status("160 of 640 prompts")
    page.select_option("#f-cell", label=CELLS[2])
    page.go_back()
    sync_api.expect(page.locator("#f-cell")).to_have_value(CELLS[1])


def test_a_link_of_another_report_is_read_as_far_as_it_fits(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    page.goto(f"{visit.url}#prompts?cell=elsewhere&base=right&page=999&more=1")
    assert page.locator("#f-cell").input_value() == ""
    assert page.locator("#f-base").input_value() == "right"
    assert visit.cards().count() > 0
    assert visit.troubles == []


def test_a_regression_leads_to_all_its_versions(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    source = page.locator(".regression .mono").first.inner_text()
    page.locator(".regression .where a").first.click()
    visit.expect_status(f"{1 + len(VIAS)} of 640 prompts: versions of {source}")
    assert visit.troubles == []


def test_keys_go_from_prompt_to_prompt_over_pages_and_to_the_search(
    page: Page, report: Path
) -> None:
    visit = Visit(page, report)
    focused = "document.activeElement.querySelector('h3')?.innerText"
    sources = visit.cards().locator("h3").all_inner_texts()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate(focused) == sources[1]
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == sources[2]
    page.keyboard.press("k")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == sources[0]
    for _ in range(N_PER_PAGE):
        page.keyboard.press("j")
    assert page.locator(".pager .where").first.inner_text() == "Page 2 of 26"
    page.keyboard.press("k")
    assert page.locator(".pager .where").first.inner_text() == "Page 1 of 26"
    page.keyboard.press("/")
    page.keyboard.type("j/k")
    assert page.locator("#f-text").input_value() == "j/k"
    page.click("#clear")
    page.uncheck("#keys")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") != "f-text"
    assert visit.troubles == []


@pytest.mark.parametrize(("width", "n_lines"), [(1200, 1), (800, 2), (400, 3)])
def test_no_tile_of_the_key_numbers_stands_beside_a_hole(
    page: Page, report: Path, width: int, n_lines: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    Visit(page, report)
    boxes = [tile.bounding_box() for tile in page.locator(".keys > div").all()]
    lines = [list(line) for _, line in itertools.groupby(boxes, lambda box: round(box["y"]))]
    assert len(lines) == n_lines
    ends = {round(line[-1]["x"] + line[-1]["width"]) for line in lines}
    assert len(ends) == 1
    assert width < 800 or min(map(len, lines)) > 1


def test_titles_and_captions_are_whole_on_a_telephone(page: Page, report: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    Visit(page, report)
    right_ends = page.evaluate(
        "[...document.querySelectorAll('.narrow svg [id$=\"-title\"] text, #table caption span')]"
        ".map(e => e.getBoundingClientRect().right)"
    )
    assert len(right_ends) > 4
    assert max(right_ends) < 390


def test_pages_turn_by_keyboard(page: Page, report: Path) -> None:
    visit = Visit(page, report)
    first = visit.cards().first.inner_text()
    following = page.locator(".pager .next").first
    following.focus()
    page.keyboard.press("Enter")
    assert page.locator(".pager .where").first.inner_text() == "Page 2 of 26"
    assert visit.cards().first.inner_text() != first
    page.locator(".pager .last").first.click()
    assert visit.cards().count() == 640 % N_PER_PAGE
    assert page.locator(".pager .next").first.is_disabled()


def test_hostile_texts_are_shown_and_do_not_run(page: Page, hostile_report: Path) -> None:
    visit = Visit(page, hostile_report)
    shown = page.locator("#examples").inner_text()
    assert SCRIPT in shown
    assert IMAGE in shown
    assert "before␀after␛[31m␡⟦U+009B⟧" in shown
    assert "⟦U+202E⟧evil⟦U+202C⟧" in shown
    assert "{{ 7 * 7 }}" in shown
    assert "‹user› Été?" in shown
    assert "(empty)" in shown
    page.wait_for_timeout(200)
    assert page.evaluate("window.pwned") is None
    assert page.locator("#examples img, #examples script, #examples b").count() == 0
    assert visit.troubles == []


def test_foreign_text_is_isolated_from_the_text_around_it(page: Page, hostile_report: Path) -> None:
    Visit(page, hostile_report)
    styles = page.evaluate(
        "[...document.querySelectorAll('#examples pre, #examples bdi')]"
        ".map(element => getComputedStyle(element).unicodeBidi)"
    )
    assert set(styles) <= {"isolate", "plaintext"}


def test_long_texts_are_clipped_until_expanded(page: Page, hostile_report: Path) -> None:
    visit = Visit(page, hostile_report)
    page.fill("#f-text", "are in answers.sqlite only")
    visit.expect_status("1 of")
    columns = visit.cards().first.locator(".columns")
    expected = visit.cards().first.locator(".expected pre")
    assert max(map(len, expected.all_inner_texts())) < 1_200
    block = columns.locator("pre").first
    toggle = columns.get_by_role("button", name="Show all").first
    assert "characters hidden" in block.inner_text()
    assert len(block.inner_text()) < 1_200
    toggle.click()
    assert len(block.inner_text()) > 8_000
    assert block.inner_text().endswith(LONG[-100:])


@pytest.mark.parametrize("width", [320, 400, 768])
def test_the_page_never_scrolls_sideways(
    page: Page, report: Path, hostile_report: Path, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in (report, hostile_report):
        Visit(page, path)
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_long_name_leaves_room_for_the_numbers(page: Page, hostile_report: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    Visit(page, hostile_report)
    names = page.locator("#table th[scope=row]").all()
    assert max(name.bounding_box()["width"] for name in names) < 250


def test_figures_have_a_narrow_form_with_text_of_readable_size(page: Page, report: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    Visit(page, report)
    assert page.locator(".wide svg").first.is_hidden()
    heights = page.evaluate(
        "[...document.querySelectorAll('.narrow svg text')]"
        ".map(text => text.getBoundingClientRect().height)"
    )
    assert min(heights) >= 10


CONTRAST = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const behind = (element) => {
    if (element === null) return [255, 255, 255];
    const color = parse(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color.slice(0, 3) : over(color, behind(element.parentElement));
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => {
      const s = c / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*:not(svg *):not(script)")) {
    const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const disabled = element.closest(":disabled") !== null;
    if (!hasText || disabled || element.getClientRects().length === 0) continue;
    const below = behind(element);
    const [a, b] = [luminance(over(parse(getComputedStyle(element).color), below)),
      luminance(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, `${element.tagName}.${element.className}: ${element.textContent.slice(0, 30)}`]);
  }
  return found;
}
"""  # noqa: E501 - a program in another language


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_that_readers_need(page: Page, report: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    Visit(page, report)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    measured = page.evaluate(CONTRAST)
    assert len(measured) > 200
    assert [entry for entry in measured if entry[0] < 4.5] == []  # WCAG 2.2, AA, 1.4.3


def test_dark_mode_is_dark_in_page_and_figures(page: Page, report: Path) -> None:
    page.emulate_media(color_scheme="dark")
    Visit(page, report)
    text = page.locator(".wide svg text").first.evaluate("e => getComputedStyle(e).fill")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = {
        name: sum(map(int, color[4:-1].split(",")))
        for name, color in {"text": text, "ground": ground}.items()
    }
    assert lightness["ground"] < 120
    assert lightness["text"] > 500


def test_every_control_has_a_name_and_headings_do_not_skip_levels(page: Page, report: Path) -> None:
    Visit(page, report)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('select, input, button')].filter(e => !e.innerText.trim()"
        " && !(e.labels && e.labels.length) && !e.ariaLabel).length"
    )
    assert unnamed == 0
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_keyboard_focus_can_be_seen(page: Page, report: Path) -> None:
    Visit(page, report)
    for _ in range(3):
        page.keyboard.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style == "solid"


TURN_AND_SEARCH = """
async () => {
  const took = [];
  const time = (act) => {
    const start = performance.now();
    act();
    document.body.getBoundingClientRect(); // lays the page out
    took.push(performance.now() - start);
  };
  for (let turn = 0; turn < 5; turn += 1) time(() => document.querySelector(".next").click());
  time(() => document.querySelector(".last").click());
  const select = document.querySelector("#f-base");
  document.querySelector("#f-text").value = "what is 1";
  time(() => select.dispatchEvent(new Event("change")));
  document.querySelector("#f-text").value = "";
  time(() => select.dispatchEvent(new Event("change")));
  document.querySelector(".next").click();
  return took;
}
"""


def test_twenty_thousand_answers_can_be_paged_and_searched_without_waiting(
    page: Page, tmp_path: Path
) -> None:
    rows = fake_rows(20_000)
    results = fake_results(vias=VIAS[:1], cells=CELLS[:1])
    path = write_report(tmp_path, results, rows, page_megabytes=20)
    assert path.stat().st_size < 20 * 2**20
    visit = Visit(page, path)
    assert visit.status() == "10,000 of 10,000 prompts"
    milliseconds = page.evaluate(TURN_AND_SEARCH)
    assert page.locator(".pager .where").first.inner_text() != "Page 1 of 400"
    assert max(milliseconds) < 2000  # each: some 20 on an idle machine, 100 for the first search
    n_matching = sum("plus 17?" in row.prompt.lower() for row in rows) // 2
    page.fill("#f-text", "plus 17?")
    visit.expect_status(f"{n_matching} of 10,000")
    assert visit.troubles == []


def test_the_page_prints_without_controls(page: Page, report: Path) -> None:
    Visit(page, report)
    page.emulate_media(media="print")
    assert page.locator("#filters").is_hidden()
    assert page.locator("nav").is_hidden()
    assert page.locator(".wide svg").first.is_visible()
    assert page.locator("#verdict").is_visible()

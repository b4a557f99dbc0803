"""The site of the docs: what is on it, that its links lead somewhere, that it fetches nothing."""

from __future__ import annotations

import ast
import doctest
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from subprocess import CalledProcessError
from typing import Any

import pytest
from docs.site.build import build_site, write_sources
from docs.site.docstrings import FORMULA, ROLE, to_markdown
from docs.site.foreign import foreign_requests
from docs.site.formulas import block, inline
from docs.site.links import link_targets, map_links, site_links
from docs.site.navigation import Nav, navigation
from docs.site.pages import Repository

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
NARROW_PX = 400


@pytest.mark.parametrize("module", ["links", "pages", "navigation", "formulas", "docstrings"])
def test_the_examples_in_its_code_are_true(module: str) -> None:
    assert doctest.testmod(import_module(f"docs.site.{module}")).failed == 0


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(ROOT, tmp_path_factory.mktemp("site") / "sources")


@pytest.mark.slow
def test_every_link_leads_to_something_on_the_site(sources: Path) -> None:
    folder = sources.parent / "pages"
    for page in folder.rglob("*.md"):
        here = page.relative_to(folder)
        for target in link_targets(page.read_text("utf-8"), PurePosixPath(here)):
            assert (folder / target).is_file(), f"{here} links to {target}"


def test_a_link_out_of_the_docs_becomes_one_to_a_page() -> None:
    page = PurePosixPath("docs/how-to/x.md")
    text = (
        "[a](../../src/palimpsest/judging/via.py) [b](../adding) `[c](d)` ![e](../figures/e.png#f)"
    )
    assert site_links(text, page, lambda path: path.name == "adding") == (
        "[a](../reference/palimpsest/judging/via.md) [b](../adding/index.md) `[c](d)` "
        "![e](../figures/e.png#f)"
    )


def test_code_and_addresses_are_no_links_to_files() -> None:
    text = "````md\n[a](b)\n```\n[c](d)\n````\n[e](https://f.org) ``[`g`](h)`` [`i`](j)"
    assert map_links(text, str.upper) == text.replace("(j)", "(J)")


def test_a_new_page_appears_by_itself_and_a_missing_one_does_not(tmp_path: Path) -> None:
    for name in ("README", "docs/tutorial", "docs/cli", "docs/theory", "docs/how-to/new"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.md").write_text(f"# {name}\n", "utf-8")
    (tmp_path / "docs/brand-new.md").write_text("# New\n", "utf-8")
    repository = Repository(tmp_path)
    listed = list(_pages_of(navigation(repository)))
    assert {"how-to/new.md", "brand-new.md", "theory.md"} <= set(listed)
    assert "claims.md" not in listed
    texts = {str(page.path): page.text for page in repository.pages()}
    assert "## More\n\n- [docs/how-to/new](new.md)" in texts["how-to/index.md"]


def test_the_how_tos_are_below_the_jobs_that_they_are_for(sources: Path) -> None:
    index = (sources.parent / "pages/how-to/index.md").read_text("utf-8")
    for text in (index, str(navigation(Repository(ROOT)))):
        places = [text.index(word) for word in ("Diagnose", "compare.md", "Fix", "serve.md")]
        assert places == sorted(places)
        assert "More" not in text  # each how-to of our own has a job


def test_every_page_is_in_the_navigation_once(sources: Path) -> None:
    listed = list(_pages_of(navigation(Repository(ROOT))))
    assert len(listed) == len(set(listed))
    folder = sources.parent / "pages"
    for page in folder.rglob("*.md"):
        is_shown_file = "exclude: true" in page.read_text("utf-8")
        assert (page.relative_to(folder).as_posix() in listed) is not is_shown_file


def _pages_of(nav: Nav) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
            continue
        for below in entry.values():
            yield from _pages_of([below] if isinstance(below, str) else below)


@pytest.mark.slow
def test_every_formula_of_the_code_becomes_mathml() -> None:
    n_formulas = 0
    for docstring in _docstrings():
        text = to_markdown(docstring)
        assert not FORMULA.search(text)
        assert not ROLE.search(text)
        for part in text.split("```math\n")[1:]:
            html = block(part.partition("\n```")[0], "math", "math", {}, None)
            assert "<math" in html
            assert "\\" not in html
            n_formulas += 1
        for part in text.split("`#!math ")[1:]:
            assert "\\" not in inline(part.partition("`")[0], "math", "math", None)
    assert n_formulas > 15


def _docstrings() -> Iterator[str]:
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield ast.get_docstring(node) or ""


def test_what_a_page_would_fetch_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("@import '//fonts.example/a.css';", "utf-8")
    (tmp_path / "page.html").write_text(
        '<script src="https://cdn.example/x.js"></script><link href="http://a.example/b.css">'
        '<style>p{background:url(https://c.example/d.png)}</style><img src="own.png">'
        '<a href="https://only.a.link/">',
        "utf-8",
    )
    assert foreign_requests(tmp_path) == [
        "page.html loads https://cdn.example/x.js",
        "page.html loads http://a.example/b.css",
        "page.html loads https://c.example/d.png",
        "style.css loads //fonts.example/a.css",
    ]


@pytest.fixture(scope="module")
def site(sources: Path) -> Path:
    """The built site; to build it is the test that nothing warns."""
    folder = sources.parent / "site"
    build_site(sources, folder)
    return folder


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_fetches_nothing(site: Path) -> None:
    assert foreign_requests(site) == []
    reference = (site / "reference/palimpsest/lab/predictors/ridge.html").read_text("utf-8")
    assert "<math" in reference
    assert "batch points dims" in reference  # the shapes of jaxtyping


@pytest.mark.slow
def test_a_link_that_leads_nowhere_ends_the_build(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.md").write_text("# Home\n\n[a](index.md#no-such-heading)\n")
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"INHERIT: {ROOT}/docs/site/mkdocs.yml\ndocs_dir: pages\nplugins: [search]\n")
    with pytest.raises(CalledProcessError):
        build_site(config, tmp_path / "site")
    assert "no such anchor" in capfd.readouterr().err


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if CHROMIUM is None:
        pytest.skip("needs chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "page",
    [
        "index",
        "tutorial",
        "footguns",
        "cli",
        "how-to/index",
        "reference/palimpsest/lab/predictors/ridge",
    ],
)
def test_a_page_fits_a_narrow_screen_and_asks_nobody(
    browser: Any, site: Path, page: str, scheme: str
) -> None:
    view = browser.new_page(
        viewport={"width": NARROW_PX, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    troubles: list[str] = []
    view.on("pageerror", lambda error: troubles.append(str(error)))
    view.on("console", lambda message: troubles.append(message.text))
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.goto((site / f"{page}.html").as_uri(), wait_until="networkidle")
    assert view.evaluate("document.documentElement.scrollWidth") <= NARROW_PX
    background = view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 253, 247)", "dark": "rgb(25, 22, 19)"}[scheme]
    assert troubles == []
    assert {address.partition(":")[0] for address in asked} <= {"file", "data"}
    view.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [NARROW_PX, 1200])
def test_code_does_not_run_below_the_button_that_copies_it(
    browser: Any, site: Path, width: int
) -> None:
    view = browser.new_page(viewport={"width": width, "height": 800})
    view.goto((site / "index.html").as_uri(), wait_until="networkidle")
    edges = view.evaluate(
        "[...document.querySelectorAll('.highlight pre')].map(pre => ["
        "  pre.querySelector('code').getBoundingClientRect().right,"
        "  pre.querySelector('button').getBoundingClientRect().left])"
    )
    assert len(edges) > 5
    assert all(code <= button for code, button in edges)
    view.close()


@pytest.mark.browser
def test_the_site_can_be_searched_from_a_folder(browser: Any, site: Path) -> None:
    view = browser.new_page(viewport={"width": 1200, "height": 800})
    view.goto((site / "index.html").as_uri())
    view.get_by_placeholder("Search").press_sequentially("intruded")
    found = view.locator(".md-search-result__item").first
    found.wait_for()  # within half a minute: the whole index is read first
    assert "intruded" in found.inner_text().lower()
    view.close()

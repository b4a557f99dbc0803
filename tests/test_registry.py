from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import CONJUGATIONS, parse_conjugation
from palimpsest.registry import Registry

SHAPES = {"pi": "math:pi", "tau": "math:tau", "broken": "no_such_module:thing"}

PLUGIN = """
from palimpsest.lm.conjugations import TextConjugation

class Backwards(TextConjugation):
    name = "backwards"
    exact = True

    def apply(self, prompt):
        return prompt[::-1]

    def invert(self, answer):
        return answer[::-1]

ROUND = 3.14
float = float
"""

ENTRY_POINTS = """
[palimpsest.conjugations]
backwards = backwards_plugin:Backwards
leet = backwards_plugin:Backwards
number = backwards_plugin:float
torn = missing_plugin_module:Torn

[palimpsest.shapes]
round = backwards_plugin:ROUND
pi = backwards_plugin:ROUND
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution the way pip would: a module and its dist-info on the path."""
    (tmp_path / "backwards_plugin.py").write_text(PLUGIN)
    info = tmp_path / "backwards_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: backwards-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_names_are_listed_in_the_order_of_registration() -> None:
    assert list(Registry[object]("shape", SHAPES)) == ["pi", "tau", "broken"]


def test_listing_imports_nothing() -> None:
    assert "broken" in Registry[object]("shape", SHAPES)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        Registry[object]("shape", SHAPES).get("tua")
    assert caught.value.message == "No shape named 'tua'. Did you mean 'tau'?"
    assert caught.value.hint == "List them with: palimpsest list shapes"


def test_a_name_near_none_is_answered_without_a_guess() -> None:
    with pytest.raises(UserError) as caught:
        Registry[object]("shape", SHAPES).get("dodecahedron")
    assert caught.value.message == "No shape named 'dodecahedron'."


@pytest.mark.usefixtures("plugin")
def test_a_plugin_that_cannot_be_loaded_is_described_by_what_is_wrong() -> None:
    described = dict(CONJUGATIONS.describe())
    assert described["identity"] == "The prompt as it is."
    assert "missing_plugin_module" in described["torn"]
    assert "could not be loaded" in described["torn"]


@pytest.mark.usefixtures("plugin")
def test_plugins_are_listed_after_the_built_in_names() -> None:
    shapes = Registry[float]("shape", SHAPES)
    assert list(shapes) == ["pi", "tau", "broken", "round"]
    assert shapes.get("round") == 3.14


@pytest.mark.usefixtures("plugin")
def test_a_plugin_cannot_take_over_a_built_in_name() -> None:
    assert Registry[float]("shape", SHAPES).get("pi") > 3.141
    assert parse_conjugation("leet").apply("a") == "4"


@pytest.mark.usefixtures("plugin")
def test_a_conjugation_from_a_plugin_works_like_our_own() -> None:
    chain = parse_conjugation("backwards|upper")
    assert chain.apply("abc") == "CBA"
    assert chain.invert("CBA") == "abc"
    with pytest.raises(UserError, match="Did you mean 'backwards'"):
        parse_conjugation("backward")


@pytest.mark.usefixtures("plugin")
def test_a_plugin_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(UserError, match="missing_plugin_module:Torn") as caught:
        parse_conjugation("torn")
    assert caught.value.hint == "Reinstall or remove the package that provides it."


@pytest.mark.usefixtures("plugin")
def test_a_plugin_that_offers_something_else_is_refused() -> None:
    with pytest.raises(UserError, match="a float, which is no TextConjugation"):
        parse_conjugation("number")

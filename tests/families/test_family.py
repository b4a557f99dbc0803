"""Members of the embedded pair, asked through one network."""

from __future__ import annotations

from palimpsest.families import Family
from palimpsest.lm.models import load_model

PROMPTS = ["Repeat the input.\n\nInput: What is 5 plus 7?\nOutput:", "What is 5 plus 7?"]
CANDIDATES = [[" 12", " What"]] * 2


def test_both_ends_answer_as_the_plain_models_and_one_network_serves_all() -> None:
    family = Family("rosetta:base", "rosetta:tuned")
    asked = {}
    for member in family.members(["base", "interpolate:0,0.5,1", "tuned"]):
        model = family.model(member)
        texts = [each.text for _, each in sorted(model.generate(PROMPTS, max_new_tokens=6))]
        asked[member.spec] = texts, model.score(PROMPTS, CANDIDATES), model.fingerprint
    for role in ("base", "tuned"):
        plain = load_model(f"rosetta:{role}")
        texts = [each.text for _, each in sorted(plain.generate(PROMPTS, max_new_tokens=6))]
        assert asked[role] == (texts, plain.score(PROMPTS, CANDIDATES), plain.fingerprint)
    assert asked["interpolate:0"][:2] == asked["base"][:2]
    assert asked["interpolate:1"][:2] == asked["tuned"][:2]
    assert len({fingerprint for _, _, fingerprint in asked.values()}) == 5
    assert family.n_loaded == 1

"""Texts that break careless reports."""

from __future__ import annotations

import json

from tests.report.diagnosis.factory import Via, fake_rows

from palimpsest.records.answers import AnswerRow

SCRIPT = "</script><script>window.pwned = 1; alert(1)</script>"
IMAGE = "<img src=x onerror='window.pwned = 2'><!-- <script> -->"
NUL = "before\x00after\x1b[31m\x7f\x9b"
RTL = "\u202eevil\u202c and \u2066isolated\u2069 and שלום"
SURROGATE = "half \ud83d a smile \ude00"
SEPARATORS = "line\u2028paragraph\u2029end\r\nwindows\rmac"
TEMPLATE = "{{ 7 * 7 }} {% raw %} ${7*7} javascript:alert(1)"
LONG = "0123456789" * 10_000
CHAT = '[{"role": "system", "content": "<b>bold</b>"}, {"role": "user", "content": "Été?"}]'

TEXTS = (SCRIPT, IMAGE, NUL, RTL, SURROGATE, SEPARATORS, TEMPLATE, LONG, CHAT, "", " \n ")

NAMES = (
    Via("a&b<i>|\"'", exact=True, keeps="<u>all</u>", base=0.9, tuned=0.8),
    Via("50 %_$x^2$~{#}\\end", exact=False, keeps="100 % of \\", base=0.9, tuned=0.1),
    Via("`--`[x](y)*z*", exact=False, keeps="nothing\nmuch", base=0.9, tuned=0.1),
    Via("nul\x00rtl\u202e", exact=True, keeps="\x00", base=0.9, tuned=0.1),
    Via("日本語|" + "long" * 30, exact=False, keeps="", base=0.9, tuned=0.1, native=True),
)
"""Conjugations whose names mean something to HTML, LaTeX, Markdown and terminals."""


def hostile_rows() -> list[AnswerRow]:
    """Return a pair of answers for every hostile text, in every field that a model can fill."""
    rows = fake_rows(2 * len(TEXTS), cells=(f"cell {IMAGE}",), vias=())
    found = []
    for place, row in enumerate(rows):
        text = TEXTS[place // 2]
        key = row.key._replace(source_id=f"{place // 2} {text[:40]}")
        row = row._replace(key=key, prompt=text, raw=text, answer=f"inverted {text}")
        right, intruding = (
            json.dumps([text, f"{side} {text}"], ensure_ascii=False)
            for side in ("right", "intruding")
        )
        found.append(row._replace(right_answers=right, intruding_answers=intruding))
    return found

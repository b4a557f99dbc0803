"""Suites: prompts with a known right answer and known wrong ones, and how answers are scored."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.suites.icl_vs_if import BUILT_IN, read_sentences
    from palimpsest.lm.suites.jsonl import (
        DEFAULT_GROUP,
        DEFAULT_LANGUAGE,
        ExampleRow,
        PromptRow,
        read_rows,
        repeated_ids,
        source_language,
    )
    from palimpsest.lm.suites.request_forms import filled_form, number_form
    from palimpsest.lm.suites.suite import (
        SUITES,
        Example,
        HumanLabel,
        Suite,
        default_suite,
        load_suite,
        parse_suite_spec,
        scored_by,
    )

__all__ = [
    "BUILT_IN", "DEFAULT_GROUP", "DEFAULT_LANGUAGE", "SUITES", "Example", "ExampleRow",
    "HumanLabel", "PromptRow", "Suite", "default_suite", "filled_form", "load_suite", "number_form",
    "parse_suite_spec", "read_rows", "read_sentences", "repeated_ids", "scored_by",
    "source_language",
]  # fmt: skip

lazy_face(globals())

"""The table of a diagnosis in LaTeX, with everything foreign escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.report.diagnosis.tables import COLUMNS, Column, Row, table_rows

if TYPE_CHECKING:
    from palimpsest.records.results import Results


def latex_table(results: Results) -> str:
    r"""Return the table as a ``tabular`` for ``\usepackage{booktabs}``, names escaped."""
    headers = [_latex_text(column.header) for column in COLUMNS]
    lines = [
        r"% Needs \usepackage{booktabs}; names in other scripts need XeLaTeX or LuaLaTeX.",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (len(COLUMNS) - 2)}l@{{}}}}",
        r"\toprule",
        " & ".join(headers) + r" \\",
        r"\midrule",
    ]
    for row in table_rows(results.plain, results.conjugations):
        lines.append(" & ".join(_latex_cell(column, row) for column in COLUMNS) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "-": r"-{}",
    "−": "$-$",
    "–": "--",
    "→": r"$\to$",
    "[": "{[}",
    "]": "{]}",
}
"""Brackets too: after a row's ``\\\\``, a bracket would be read as its optional argument."""


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(column: Column, row: Row) -> str:
    value, interval = _latex_text(column.value(row)), _latex_text(column.interval(row))
    return rf"{value} {{\scriptsize {interval}}}" if interval else value

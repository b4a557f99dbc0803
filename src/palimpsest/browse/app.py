"""The page and what it asks: read-only, and nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from palimpsest.browse.index import FACETS, AnswerIndex, Found, Query
from palimpsest.records import AnswerRow

MOST_A_PAGE = 200
MOST_TEXT = 200
"""Characters of a text that is searched for."""

_SHOWN = 20_000
"""Characters of one text in a list or a comparison; the rest is left out, and said to be."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
_FILES = {
    "/": ("page.html", "text/html"),
    "/browse.css": ("browse.css", "text/css"),
    "/browse.js": ("browse.js", "text/javascript"),
}


def create_app(indexes: Sequence[AnswerIndex]) -> Starlette:
    """Return the app that shows some runs; the first is listed, all are compared.

    Args:
        indexes: Of the runs.
    """
    names = names_of([each.folder.path for each in indexes])

    async def asset(request: Request) -> Response:
        name, kind = _FILES[request.url.path]
        content = (files("palimpsest.browse") / "assets" / name).read_bytes()
        return Response(content, media_type=kind, headers=_HEADERS)

    async def runs(request: Request) -> Response:
        return _json(
            [
                {"name": name, "n": len(each), "counts": each.counts()}
                for name, each in zip(names, indexes, strict=True)
            ]
        )

    async def answers(request: Request) -> Response:
        asked = request.query_params
        number = _number(asked.get("run"), 0, len(indexes))
        index = indexes[number if number < len(indexes) else 0]
        query = Query(
            {name: asked.get(name, "") for name in (*FACETS, "flip", "source")},
            text=asked.get("text", "")[:MOST_TEXT],
            start=_number(asked.get("start"), 0, len(index)),
            n=max(1, _number(asked.get("n"), 50, MOST_A_PAGE)),
        )
        return _json(_page(index, index.find(query)))

    async def source(request: Request) -> Response:
        wanted = request.query_params.get("source", "")
        return _json([[_row(each, row) for row in each.of_source(wanted)] for each in indexes])

    return Starlette(
        routes=[
            *(Route(path, asset) for path in _FILES),
            Route("/api/runs", runs),
            Route("/api/answers", answers),
            Route("/api/source", source),
        ],
        # Another site's page cannot reach it under a name of its own that leads here.
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "::1"])
        ],
    )


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return what runs are called: their folders' names, or all of the path where two share one.

    Example:
        >>> names_of([Path("a/out"), Path("b/new")]), names_of([Path("a/out"), Path("b/out")])
        (['out', 'new'], ['a/out', 'b/out'])
    """
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else list(map(str, paths))


def _json(value: Any) -> Response:
    # Escaped: names of files and texts may have lone surrogates, which have no UTF-8 form.
    return Response(json.dumps(value), media_type="application/json", headers=_HEADERS)


def _number(text: str | None, default: int, most: int) -> int:
    try:
        number = default if text is None else int(text)
    except ValueError:
        number = default
    return min(max(number, 0), most)


def _page(index: AnswerIndex, found: Found) -> dict[str, Any]:
    rows = zip(found.rows, found.flips, strict=True)
    return {
        "rows": [{**_row(index, row), "flip": flip} for row, flip in rows],
        "n": found.n_filtered,
        "next": found.next_start,
        "whole": found.is_whole,
    }


def _row(index: AnswerIndex, row: AnswerRow) -> dict[str, Any]:
    return {
        "source": row.key.source_id,
        "role": row.role,
        "model": index.model_of(row),
        "via": row.via,
        "cell": row.cell,
        "language": row.language,
        "outcome": row.outcome,
        "prompt": _short(row.prompt),
        "answer": _short(row.answer),
        "raw": _short(row.raw),
        "expected": _short(row.right_answers),
        "finish": row.finish,
        "flags": row.flags,
        "score": row.score,
    }


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} … ({len(text):,} characters)"

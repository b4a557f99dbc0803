"""An OpenAI-compatible server that asks every prompt under a conjugation."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.serve.listening import bound
    from palimpsest.serve.running import DEFAULT_TOKEN_ENV, secret, serve, upstream_key
    from palimpsest.serve.settings import ServeSettings

__all__ = ["DEFAULT_TOKEN_ENV", "ServeSettings", "bound", "secret", "serve", "upstream_key"]

lazy_face(globals())

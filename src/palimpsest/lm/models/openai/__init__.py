"""The back end ``openai``: what lists or names it need not load an HTTP client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.specs import Spec

if TYPE_CHECKING:
    from palimpsest.lm.models.openai.endpoint import Endpoint


def load(spec: Spec) -> Endpoint:
    """A model behind any OpenAI-compatible server: MODEL@URL, such as llama@http://localhost:8000."""
    from palimpsest.lm.models.openai.endpoint import Endpoint
    from palimpsest.lm.models.openai.options import EndpointOptions

    return Endpoint(spec, EndpointOptions.parse(spec))

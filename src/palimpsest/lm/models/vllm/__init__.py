"""The back end ``vllm``: checkpoints in Hugging Face format, asked by vLLM in this process."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.models.vllm.model import VllmModel
    from palimpsest.lm.models.vllm.options import VllmOptions

__all__ = ["VllmModel", "VllmOptions"]

lazy_face(globals())

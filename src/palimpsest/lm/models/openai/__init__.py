"""Back end ``openai``: models behind OpenAI-compatible servers."""

__all__: list[str] = []

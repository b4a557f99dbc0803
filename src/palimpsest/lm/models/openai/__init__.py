"""Back end ``openai``: models behind OpenAI-compatible servers."""

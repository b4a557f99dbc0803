"""An OpenAI-compatible server that asks every prompt under a conjugation."""

"""The back end ``hf``: causal language models in Hugging Face format."""

"""Language models behind one protocol: Hugging Face checkpoints, endpoints, scripted answers."""

"""Language models behind one protocol: Hugging Face checkpoints, Rosetta, scripted answers."""

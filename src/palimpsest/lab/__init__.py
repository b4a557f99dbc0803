"""The laboratory: implicit inference measured exactly, on in-context regression."""

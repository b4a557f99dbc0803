"""Records of a run: answers, the results schema, and the folder that holds them."""

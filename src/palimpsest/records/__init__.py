"""What a run writes: answers, the results schema, and the folder that holds them."""

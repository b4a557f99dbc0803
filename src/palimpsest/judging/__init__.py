"""The diagnosis: questions asked, answers paired and analysed, and a verdict with its reason."""

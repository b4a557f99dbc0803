"""Conjugate prompting in four lines: ask any function from text to text under a conjugation."""

from palimpsest import conjugate, parse_conjugation


def model(prompt: str) -> str:
    """Stand in for a model: it gives back the last word of the prompt."""
    return prompt.split()[-1]


leet = parse_conjugation("leet")
print("sent:    ", leet.apply("Repeat the word palimpsest"))
print("answered:", model(leet.apply("Repeat the word palimpsest")))
print("inverted:", conjugate(model, leet)("Repeat the word palimpsest"))

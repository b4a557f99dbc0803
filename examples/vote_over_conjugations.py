"""Ask a model under several conjugations and take the majority of the inverted answers."""

from palimpsest import Ensemble, load_model, parse_conjugation

PROMPT = """Repeat the input.

Input: Cows eat green grass in the village.
Output: Cows eat green grass in the village.

Input: The baker sells fresh bread near the river.
Output: The baker sells fresh bread near the river.

Input: What is 5 plus 7?
Output:"""

loaded = load_model("rosetta:tuned")


def model(prompt: str) -> str:
    """Return the model's answer to one prompt."""
    [(_, generation)] = loaded.generate([prompt], max_new_tokens=20, stop=["\n"])
    return generation.text.strip()


names = ("identity", "leet", "pig-latin")
conjugations = [parse_conjugation(name) for name in names]
for conjugation in conjugations:
    print(f"{conjugation.name}: {conjugation.invert(model(conjugation.apply(PROMPT)))}")
print("vote:", Ensemble(conjugations)(model)(PROMPT))

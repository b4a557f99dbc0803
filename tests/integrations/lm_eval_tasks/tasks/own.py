"""Functions that the tasks beside name."""

from typing import Any


def overlap(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    words = set(results[0].split())
    return {"overlap": len(words & set(doc["text"].split())) / max(len(words), 1)}


def margin(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    scores = [score for score, _ in results]
    return {"share": scores[0] / (scores[0] + scores[1])}


def question(doc: dict[str, Any]) -> str:
    return str(doc["prompt"])


def options(doc: dict[str, Any]) -> list[str]:
    return list(reversed(doc["choices"]))


def answer(doc: dict[str, Any]) -> int:
    return int(1 - doc["label"])

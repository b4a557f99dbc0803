r"""Numbers in answers: digits, fractions, percents, small number words, ``\boxed{}``.

What a number means is read by the language of the answer: ``1.200`` is 1.2 in English, and 1200 or
1.2 in German. Several readings are kept, and none is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import islice, pairwise
from typing import NamedTuple

MOST_DIGITS = 100
"""Digits of a number; a longer one has no value."""

_COMMA_LANGUAGES = (
    "bg bs ca cs da de el eo es et eu fi fr gl hr hu hy id is it ka kk lt lv mk nb nl nn no pl pt "
    "ro ru sk sl sq sr sv tr uk uz vi"
)
"""Languages whose decimal mark is a comma; elsewhere it is taken for a point."""

_WORDS = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty 30:thirty 40:forty 50:fifty 60:sixty "
    "70:seventy 80:eighty 90:ninety 100:hundred",
    "fr": "zéro un|une deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze "
    "quinze seize dix-sept dix-huit dix-neuf vingt 30:trente 40:quarante 50:cinquante 60:soixante "
    "70:soixante-dix|septante 80:quatre-vingts|quatre-vingt 90:quatre-vingt-dix|nonante 100:cent",
    "es": "cero uno|una|un dos tres cuatro cinco seis siete ocho nueve diez once doce trece "
    "catorce quince dieciséis|dieciseis diecisiete dieciocho diecinueve veinte 30:treinta "
    "40:cuarenta 50:cincuenta 60:sesenta 70:setenta 80:ochenta 90:noventa 100:cien|ciento",
    "de": "null eins|ein|eine zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn "
    "vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn zwanzig 30:dreißig|dreissig 40:vierzig "
    "50:fünfzig 60:sechzig 70:siebzig 80:achtzig 90:neunzig 100:hundert|einhundert",
    "nl": "nul één|een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien "
    "vijftien zestien zeventien achttien negentien twintig 30:dertig 40:veertig 50:vijftig "
    "60:zestig 70:zeventig 80:tachtig 90:negentig 100:honderd",
    "hu": "nulla egy kettő|két három négy öt hat hét nyolc kilenc tíz tizenegy tizenkettő "
    "tizenhárom tizennégy tizenöt tizenhat tizenhét tizennyolc tizenkilenc húsz 30:harminc "
    "40:negyven 50:ötven 60:hatvan 70:hetven 80:nyolcvan 90:kilencven 100:száz",
}
"""Small number words by language, from zero on; ``|`` parts forms of one number."""

_MARKERS = {
    word: re.compile(word + more)
    for word, more in {
        "answer": "(?: is|:)", "result": "(?: is|:)", "réponse": r"(?: finale)?(?: est|\s*:)",
        "résultat": "(?: est|:)", "respuesta": "(?: final)?(?: es|:)", "resultado": "(?: es|:)",
        "antwort": "(?: ist| lautet|:)", "ergebnis": "(?: ist|:)", "antwoord": "(?: is|:)",
        "válasz": "(?: az?|:)?", "####": "",
    }.items()
}  # fmt: skip
"""What announces the answer, in the suites' languages and as GSM8K writes it."""
_MOST_ANNOUNCED = 32
_LONGEST_CLAUSE = 1000
"""Announcements that are looked at, and characters behind each: an answer that repeats itself to
its limit must not take quadratic time."""

_WORD = re.compile(r"[\w-]+")
_END_OF_CLAUSE = re.compile(r"\n|(?<=\S)[.!?](?=\s|$)")

_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d{1,100})\s*\}\s*\{\s*(\d{1,100})\s*\}")
_NOISE = re.compile(r"\\(?:text|mathrm|mathbf|left|right|[,;!: ()\[\]$])|\$|[*`]{1,3}|__")
_SPECIAL = re.compile(r"[\\$*`½⅓⅔¼¾⅕⅛]|__|\{,\}")
_VULGAR = str.maketrans(
    {"½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4", "⅕": " 1/5", "⅛": " 1/8"}
)

_SPACE = " \u00a0\u202f\u2009"
_NUMBER = re.compile(
    rf"""
    (?<![\w^.,]) (?<!\^\{{)
    (?: (?P<minus> (?<![)\]])[-−] | \b(?:minus|negative|moins|menos|min|mínusz)\s )
      | (?<![)\]])[+] )?
    [€£¥]? [{_SPACE}]?
    (?: (?P<whole> \d{{1,9}} ) [{_SPACE}]{{1,2}} (?= \d{{1,9}}/\d ) )?
    (?P<number> \d{{1,3}} (?: [{_SPACE}] \d{{3}} )+ (?!\d) (?: [.,] \d+ )?
      | \d+ (?: [.,'’٫٬] \d+ )* | [.] \d+ )
    (?: \s? / \s? (?P<under> \d{{1,100}} ) (?! [\d/] ) )?
    (?: (?: \s? (?: [×x·] | \\times | \\cdot ) \s? 10 \s? \^ \s?
            \{{? (?P<power> [-−]?\d{{1,3}} ) \}}? )
      | [eE] (?P<e> [-+]?\d{{1,3}} ) (?!\w) )?
    (?P<percent> \s? (?: \\?% | (?: percent|per\scent|prozent|pour\scent|por\sciento|procent
      |százalék ) \b ) )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_MOST_BEFORE = 12
"""Characters of a number before its first digit: a word for minus, a currency, a point."""
_NOTHING_ELSE = [None] * 5
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|re|e|ème|º|ª)\b", re.IGNORECASE)
_PART_OF_MORE = re.compile(r"[:/.-]?\d|[-‐][^\W\d]{3}")
_NOT = re.compile(r"\b(?:not|pas|no|nicht|niet|nem)\s+$", re.IGNORECASE)
_OR = {"en": "or|to", "fr": "ou|à", "es": "o|a", "de": "oder|bis", "nl": "of|tot", "hu": "vagy"}


class Quantity(NamedTuple):
    """A number in a text, as all that it may mean."""

    values: tuple[int | Fraction, ...]
    """Its readings, that of the language first; none for what is no single number, such as 3:30."""

    percent: bool = False
    """Whether it is in per cent; the values are as written."""

    start: int = 0
    """Where it begins."""

    end: int = 0
    """Where it ends."""

    def equals(self, other: Quantity) -> bool:
        """Return whether a reading of one is a reading of the other; 50 % equals 50 and 0.5."""
        if self.percent == other.percent:
            return any(value in other.values for value in self.values)
        percent, plain = (self, other) if self.percent else (other, self)
        both = {*percent.values, *(value / 100 for value in percent.values)}
        return not both.isdisjoint(plain.values)


def first_number(text: str, language: str = "en") -> Quantity | None:
    """Return the first number of a text, if it has one that can be told."""
    text = _cleaned(text)
    found = _quantities(text, language)
    return found[0] if found and not _is_one_of_several(text, found, 0, language) else None


def final_number(text: str, language: str = "en") -> Quantity | None:
    r"""Return the number in which an answer ends, if it can be told.

    That is the one in the last ``\boxed{}``; else the one that the last phrase like ``the answer
    is`` announces, behind an equals sign if one follows; else the last number of the text.

    Example:
        >>> texts = ["So 5 + 7 = 12 apples.", "The answer is 1,200. Check: 3 × 400.", "12 or 13"]
        >>> [found and float(found.values[0]) for found in map(final_number, texts)]
        [12.0, 1200.0, None]
    """
    boxed = _BOXED.findall(text) if "\\boxed" in text else []
    if boxed:
        return _last(_cleaned(boxed[-1]), language)
    text = _cleaned(text)
    for start in islice(_announcements(text), _MOST_ANNOUNCED):
        clause = _END_OF_CLAUSE.split(text[start : start + _LONGEST_CLAUSE], maxsplit=1)[0]
        if "=" in clause:
            return _last(clause.rpartition("=")[2], language) or _last(clause, language)
        found = _quantities(clause, language)
        if found:
            return None if _is_one_of_several(clause, found, 0, language) else found[0]
    return _last(text, language)


def announces_number(text: str, language: str = "en") -> bool:
    r"""Return whether a phrase like *the answer is*, or ``\boxed{}``, comes with a number.

    Example:
        >>> announces_number("The answer is 17."), announces_number("What is 17?")
        (True, False)
    """
    is_announced = _BOXED.search(text) is not None or next(_announcements(text), None) is not None
    return is_announced and final_number(text, language) is not None


def begins_with_number(text: str, language: str = "en") -> bool:
    """Return whether a text begins with a number, whichever.

    Example:
        >>> [begins_with_number(text) for text in ("12 apples", "Twelve.", "No 12", "$5")]
        [True, True, False, True]
    """
    text = _cleaned(text).lstrip(" \n\t(\"'«„“≈=:")
    found = _quantities(text, language)
    return bool(found) and found[0].start == 0


def _announcements(text: str) -> Iterator[int]:
    """Yield where phrases like *the answer is* end, the last one first."""
    folded = text.lower()
    if len(folded) != len(text):  # a few letters become two in small
        folded = text
    words = [word for word in _MARKERS if word in folded]
    ends = {match.end() for word in words for match in _MARKERS[word].finditer(folded)}
    yield from sorted(ends, reverse=True)


def _last(text: str, language: str) -> Quantity | None:
    found = _quantities(text, language)
    if not found or _is_one_of_several(text, found, len(found) - 1, language):
        return None
    return found[-1]


def _cleaned(text: str) -> str:
    if _SPECIAL.search(text) is None:
        return text
    text = _FRACTION.sub(r" \1/\2", text.replace("{,}", ",").replace("\\%", "%"))
    return _NOISE.sub("", text).translate(_VULGAR)


def _quantities(text: str, language: str) -> list[Quantity]:
    """Return the numbers in a text: those in digits, or if there are none, those in words."""
    language = language.partition("-")[0].lower()
    found = [
        Quantity(
            () if _PART_OF_MORE.match(text, match.end()) else _values(match, language),
            match["percent"] is not None,
            match.start(),
            match.end(),
        )
        for match in _matches(text)
        if match["percent"] or not _ORDINAL.match(text, match.end())
    ]
    found = found or list(_in_words(text, language))
    meant = [each for each in found if not _NOT.search(text, max(each.start - 8, 0), each.start)]
    return meant or found


def _matches(text: str) -> Iterator[re.Match[str]]:
    """Yield what is written as a number; the pattern is tried at digits alone, being slow."""
    end = 0
    while digit := _DIGIT.search(text, end):
        match = _NUMBER.search(text, max(digit.start() - _MOST_BEFORE, end))
        if match is None:
            return
        yield match
        end = match.end()


def _values(match: re.Match[str], language: str) -> tuple[int | Fraction, ...]:
    number, *others = match.group("number", "minus", "whole", "under", "power", "e")
    if len(number) > MOST_DIGITS:
        return ()
    if others == _NOTHING_ELSE:
        return _readings(number, language)
    under = int(match["under"]) if match["under"] else 1
    if under == 0:
        return ()
    power = int((match["power"] or match["e"] or "0").replace("−", "-"))
    factor = Fraction(10) ** power / under
    whole = int(match["whole"]) if match["whole"] else 0
    sign = -1 if match["minus"] else 1
    return tuple(sign * (whole + value * factor) for value in _readings(match["number"], language))


@lru_cache(maxsize=65536)
def _readings(digits: str, language: str) -> tuple[int | Fraction, ...]:
    """Return what a run of digits with separators may mean, what the language says first."""
    digits = re.sub(f"[{_SPACE}'’٬]", "", digits).replace("٫", ".")
    points, commas = digits.count("."), digits.count(",")
    if not points and not commas:
        return (int(digits),)
    if points and commas:
        decimal, group = (".", ",") if digits.rfind(".") > digits.rfind(",") else (",", ".")
        before, _, after = digits.partition(decimal)
        is_number = digits.count(decimal) == 1 and _grouped(before, group)
        return (Fraction(f"{before.replace(group, '')}.{after}"),) if is_number else ()
    mark = "." if points else ","
    groups = (int(digits.replace(mark, "")),) if _grouped(digits, mark) else ()
    if points + commas > 1:
        return groups
    decimal_value = (Fraction(digits.replace(",", ".")),)
    if language not in _COMMA_LANGUAGES.split():
        return (groups if mark == "," else ()) or decimal_value
    return (*groups, *decimal_value) if mark == "." else (*decimal_value, *groups)


def _grouped(digits: str, mark: str) -> bool:
    """Return whether all marks part thousands, or as in India thousands and then hundreds."""
    first, *others = digits.split(mark)
    if not others or not 0 < len(first) <= 3 or first[0] == "0":
        return False
    *between, last = map(len, others)
    return last == 3 and (set(between) <= {3} or (set(between) == {2} and len(first) < 3))


def _in_words(text: str, language: str) -> Iterator[Quantity]:
    values, articles = _number_words(language)
    folded = text.lower()
    if len(folded) != len(text):
        return
    for match in _WORD.finditer(folded):
        if match[0] not in values:
            continue
        # An article is a number only where nothing else is said.
        if match[0] in articles and re.sub(r"\W", "", folded) != match[0]:
            continue
        yield Quantity((Fraction(values[match[0]]),), False, match.start(), match.end())


@lru_cache(maxsize=64)
def _number_words(language: str) -> tuple[dict[str, int], frozenset[str]]:
    """Return a language's number words with their values, and those that are articles."""
    values: dict[str, int] = {}
    articles = {"one"}
    for place, entry in enumerate(_WORDS.get(language, _WORDS["en"]).split()):
        number, _, words = entry.rpartition(":")
        for word in words.split("|"):
            values[word] = int(number or place)
            if values[word] == 1:
                articles.add(word)
    return values, frozenset(articles)


def _is_one_of_several(text: str, found: list[Quantity], place: int, language: str) -> bool:
    """Return whether a number is an end of a range or one of two alternatives: 3-4, 3 or 4."""
    word = _OR.get(language.partition("-")[0].lower(), _OR["en"])
    joined = re.compile(rf"\s?[-–—]\s?|\s(?:{word})\s", re.IGNORECASE)
    return any(
        joined.fullmatch(text, left.end, right.start) and not left.equals(right)
        for left, right in pairwise(found)
        if found[place] in (left, right)
    )

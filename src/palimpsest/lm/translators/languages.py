"""Codes of languages: what users write, and what translators call it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from palimpsest.errors import UserError, did_you_mean

# ISO 639-1 code, ISO 639-3 code, English name.
_TABLE = """
aa aar Afar|ab abk Abkhazian|ae ave Avestan|af afr Afrikaans|ak aka Akan|am amh Amharic
an arg Aragonese|ar ara Arabic|as asm Assamese|av ava Avaric|ay aym Aymara|az aze Azerbaijani
ba bak Bashkir|be bel Belarusian|bg bul Bulgarian|bi bis Bislama|bm bam Bambara|bn ben Bengali
bo bod Tibetan|br bre Breton|bs bos Bosnian|ca cat Catalan|ce che Chechen|ch cha Chamorro
co cos Corsican|cr cre Cree|cs ces Czech|cu chu Church Slavonic|cv chv Chuvash|cy cym Welsh
da dan Danish|de deu German|dv div Dhivehi|dz dzo Dzongkha|ee ewe Ewe|el ell Greek|en eng English
eo epo Esperanto|es spa Spanish|et est Estonian|eu eus Basque|fa fas Persian|ff ful Fulah
fi fin Finnish|fj fij Fijian|fo fao Faroese|fr fra French|fy fry Western Frisian|ga gle Irish
gd gla Scottish Gaelic|gl glg Galician|gn grn Guarani|gu guj Gujarati|gv glv Manx|ha hau Hausa
he heb Hebrew|hi hin Hindi|ho hmo Hiri Motu|hr hrv Croatian|ht hat Haitian Creole|hu hun Hungarian
hy hye Armenian|hz her Herero|ia ina Interlingua|id ind Indonesian|ie ile Interlingue|ig ibo Igbo
ii iii Sichuan Yi|ik ipk Inupiaq|io ido Ido|is isl Icelandic|it ita Italian|iu iku Inuktitut
ja jpn Japanese|jv jav Javanese|ka kat Georgian|kg kon Kongo|ki kik Kikuyu|kj kua Kuanyama
kk kaz Kazakh|kl kal Greenlandic|km khm Khmer|kn kan Kannada|ko kor Korean|kr kau Kanuri
ks kas Kashmiri|ku kur Kurdish|kv kom Komi|kw cor Cornish|ky kir Kyrgyz|la lat Latin
lb ltz Luxembourgish|lg lug Ganda|li lim Limburgish|ln lin Lingala|lo lao Lao|lt lit Lithuanian
lu lub Luba-Katanga|lv lav Latvian|mg mlg Malagasy|mh mah Marshallese|mi mri Maori|mk mkd Macedonian
ml mal Malayalam|mn mon Mongolian|mr mar Marathi|ms msa Malay|mt mlt Maltese|my mya Burmese
na nau Nauru|nb nob Norwegian Bokmål|nd nde North Ndebele|ne nep Nepali|ng ndo Ndonga|nl nld Dutch
nn nno Norwegian Nynorsk|no nor Norwegian|nr nbl South Ndebele|nv nav Navajo|ny nya Nyanja
oc oci Occitan|oj oji Ojibwa|om orm Oromo|or ori Odia|os oss Ossetian|pa pan Punjabi|pi pli Pali
pl pol Polish|ps pus Pashto|pt por Portuguese|qu que Quechua|rm roh Romansh|rn run Rundi
ro ron Romanian|ru rus Russian|rw kin Kinyarwanda|sa san Sanskrit|sc srd Sardinian|sd snd Sindhi
se sme Northern Sami|sg sag Sango|si sin Sinhala|sk slk Slovak|sl slv Slovenian|sm smo Samoan
sn sna Shona|so som Somali|sq sqi Albanian|sr srp Serbian|ss ssw Swati|st sot Southern Sotho
su sun Sundanese|sv swe Swedish|sw swa Swahili|ta tam Tamil|te tel Telugu|tg tgk Tajik|th tha Thai
ti tir Tigrinya|tk tuk Turkmen|tl tgl Tagalog|tn tsn Tswana|to ton Tonga|tr tur Turkish
ts tso Tsonga|tt tat Tatar|tw twi Twi|ty tah Tahitian|ug uig Uyghur|uk ukr Ukrainian|ur urd Urdu
uz uzb Uzbek|ve ven Venda|vi vie Vietnamese|vo vol Volapük|wa wln Walloon|wo wol Wolof|xh xho Xhosa
yi yid Yiddish|yo yor Yoruba|za zha Zhuang|zh zho Chinese|zu zul Zulu
"""

_TAG = re.compile(r"([A-Za-z]{2,3})((?:[-_][A-Za-z0-9]{2,8})*)")


class _Language(NamedTuple):
    two: str
    three: str
    name: str


@cache
def _languages() -> Mapping[str, _Language]:
    """Return every language of the table by both of its codes."""
    entries = [
        _Language(*entry.split(maxsplit=2))
        for entry in _TABLE.strip().replace("\n", "|").split("|")
    ]
    return {code: entry for entry in entries for code in (entry.two, entry.three)}


def is_language(text: str) -> bool:
    """Return whether ``text`` is a two-letter code of ISO 639-1, perhaps with region or script.

    Example:
        >>> [is_language(text) for text in ("fr", "pt-BR", "fra", "xx", "leet")]
        [True, True, False, False, False]
    """
    match = _TAG.fullmatch(text)
    return match is not None and len(match[1]) == 2 and match[1].lower() in _languages()


def canonical(code: str) -> str:
    """Return a code as a BCP 47 tag: the shortest code of the language, then its subtags.

    Example:
        >>> [canonical(code) for code in ("EN", "spa", "pt_br", "zh-hant", "cat_valencia")]
        ['en', 'es', 'pt-BR', 'zh-Hant', 'ca-valencia']
    """
    match = _TAG.fullmatch(code)
    if match is None:
        return code
    language = match[1].lower()
    entry = _languages().get(language)
    subtags = [_subtag(part) for part in re.split("[-_]", match[2])[1:]]
    return "-".join([entry.two if entry else language, *subtags])


def _subtag(text: str) -> str:
    if len(text) == 2:
        return text.upper()
    return text.title() if len(text) == 4 and text.isalpha() else text.lower()


def checked(code: str) -> str:
    """Return a code as a BCP 47 tag, if it is one.

    Three-letter codes may be any: only the translator knows which it has.

    Raises:
        UserError: It is no code of a language.

    Example:
        >>> checked("spa")
        'es'
        >>> checked("french")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: 'french' is no code of a language. Did you mean 'fr'?
        Write codes such as en, es or pt-BR (ISO 639, BCP 47).
    """
    match = _TAG.fullmatch(code)
    if match is None or (len(match[1]) == 2 and match[1].lower() not in _languages()):
        names = {entry.name.lower(): entry.two for entry in _languages().values()}
        known = names.get(code.strip().lower())
        near = f" Did you mean '{known}'?" if known else did_you_mean(code, _languages())
        raise UserError(
            f"'{code}' is no code of a language.{near}",
            hint="Write codes such as en, es or pt-BR (ISO 639, BCP 47).",
        )
    return canonical(code)


def base_language(code: str) -> str:
    """Return a tag without region, script and variant.

    Example:
        >>> base_language("por_BR")
        'pt'
    """
    return canonical(code).partition("-")[0]


def three_letters(code: str) -> str:
    """Return the ISO 639-3 code of a tag's language.

    Example:
        >>> three_letters("pt-BR")
        'por'
    """
    entry = _languages().get(base_language(code))
    return entry.three if entry else base_language(code)


def english_name(code: str) -> str:
    """Return what English calls a language, with the tag where it says more.

    Example:
        >>> english_name("es"), english_name("pt-BR"), english_name("nds")
        ('Spanish', 'Portuguese (pt-BR)', 'nds')
    """
    tag = canonical(code)
    entry = _languages().get(base_language(code))
    if entry is None:
        return tag
    return entry.name if tag == entry.two else f"{entry.name} ({tag})"

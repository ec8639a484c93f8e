"""When two names or ids that computers tell apart are one to a person, and what it is that sets them apart."""

from __future__ import annotations

import re
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Iterable

# Cyrillic and Greek letters that look like Latin ones in every font.
_ALIKE = str.maketrans("АВЕКМНОРСТУХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEKMHOPCTYXaeopcyxijsABEZHIKMNOPTYXo")
_DASHES = {"\u2212", "\u2043", "\u02d7", "\u00af", "\u30fc"}  # minus, bullet, modifier letter, macron, long vowel mark
_INVISIBLE = {"\u034f", "\u115f", "\u1160", "\u3164", "\uffa0", "\u2800"}  # joiners and fillers that print nothing
_NUMBER = re.compile(r"[+]?(\d+)(?:[.,]0*)?")
_POWER = re.compile(r"[+]?(\d+)(?:[.,](\d*))?e[+]?(\d{1,2})")  # 1.2E+05, which a spreadsheet makes of a long number


def folded_id(text: str) -> str:
    """Return `text` without what no reader sees: Unicode form and width, case, invisible characters, kinds of dash,
    quote and space, letters of other alphabets that look alike."""
    kept = []
    for char in unicodedata.normalize("NFKC", text):
        kind = unicodedata.category(char)
        if char in _INVISIBLE or 0xFE00 <= ord(char) <= 0xFE0F or 0xE0100 <= ord(char) <= 0xE01EF:
            continue  # fillers and variation selectors
        if kind == "Pd" or char in _DASHES:
            kept.append("-")
        elif kind in ("Zs", "Zl", "Zp") or char in "\t\r\n\v\f":
            kept.append(" ")
        elif kind not in ("Cf", "Cc"):
            kept.append(char)
    return " ".join(unicodedata.normalize("NFKC", "".join(kept).translate(_ALIKE).casefold()).split())


def as_number(text: str) -> str:
    """Return `folded_id`, numbers without leading zeros, sign, empty decimals and powers: 012, 12, 12.0, 12,0 and
    1.2E+01 are one, P01 and P1 too. What a spreadsheet may have done to an id."""
    folded = folded_id(text)
    if whole := _NUMBER.fullmatch(folded):
        return "".join(str(int(digit)) for digit in whole[1]).lstrip("0") or "0"
    if (power := _POWER.fullmatch(folded)) and len((power[2] or "").rstrip("0")) <= int(power[3]):
        return (power[1] + (power[2] or "").rstrip("0").ljust(int(power[3]), "0")).lstrip("0") or "0"
    return re.sub(r"(?<!\d)0+(?=\d)", "", folded)


def folded_name(text: str) -> str:
    """Return a file name or path as a person reads it: composed letters, %-escapes resolved, case ignored."""
    try:
        plain = urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        plain = text
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", plain).casefold())


class NameIndex:
    """Names (paths with "/") found by exact spelling first, else by the one that a person reads alike."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact: dict[str, str] = {}
        self._folded: dict[str, list[str]] = {}
        for name in names:
            self._exact.setdefault(unicodedata.normalize("NFC", name), name)
            self._folded.setdefault(folded_name(name), []).append(name)

    def find(self, name: str) -> str | None:
        """Return the name of the index that `name` means, None if there is none; raises ValueError for several."""
        exact = self._exact.get(unicodedata.normalize("NFC", name))
        if exact is not None:
            return exact
        alike = self._folded.get(folded_name(name), [])
        if len(alike) > 1:
            raise ValueError(f"'{name}' fits '{alike[0]}' and '{alike[1]}', which are one name to a person; rename one")
        return alike[0] if alike else None


def code_points(text: str) -> str:
    """Return what is not plain ASCII in `text`, as code points: "U+00E9 U+200B"; "plain ASCII" where nothing is."""
    odd = [f"U+{ord(char):04X}" for char in text if not (char.isascii() and char.isprintable())]
    return " ".join(odd[:12]) + (" ..." if len(odd) > 12 else "") or "plain ASCII"


def set_apart(a: str, b: str) -> str:
    """Return how two look-alike texts differ: the code points that only one of them has, or their case."""
    only = [list((Counter(x) - Counter(y)).elements()) for x, y in ((a, b), (b, a))]
    if a.casefold() == b.casefold():
        return "upper and lower case"
    if not any(only):
        return "the order of their characters"
    return " against ".join(_named(chars) or "nothing" for chars in only)


def _named(chars: Iterable[str]) -> str:
    return " ".join(f"U+{ord(char):04X}" for char in list(chars)[:6])

"""Splits text into words that can be compared. "Annullà!" and "*ANNULLA*" give the same word.

Case, accents, punctuation and WhatsApp's formatting marks (`*bold*`, `_italic_`) are ignored. Scripts written
without spaces (Chinese, Japanese, Thai, Khmer …) give one word per character, so that a keyword is found
inside a sentence. Each emoji is a word.
"""

import re
import unicodedata

LIMIT = 1024
"""The most characters of a message that are read. Keywords come early in a message; the limit keeps a turn fast."""

_MARKS = re.compile(
    "[\u0300-\u036f"  # accents of Latin, Greek and Cyrillic
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew points
    "\u0640\u064b-\u065f\u0670]"  # Arabic vowel signs and the stretching line
)
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Skin tones (U+1F3FB–U+1F3FF) are left out: they change the colour of a thumb, not its meaning.
_SYMBOL = "\u2190-\u2bff\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
# Python's \w excludes the vowel signs of Indic scripts, which would cut every Hindi word into pieces.
_INDIC = "\u0900-\u0963\u0966-\u0dff"
_WORD = re.compile(f"[{_UNSPACED}{_SYMBOL}]|(?:(?![{_UNSPACED}])(?:[^\\W_]|[{_INDIC}]))+")
_ASCII_WORD = re.compile("[a-z0-9]+")
_IS_SYMBOL = re.compile(f"[{_SYMBOL}]")


def words(text: str) -> list[str]:
    """Returns the words of `text` in order, normalised for comparison. The list may be empty."""
    text = text[:LIMIT]
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKD", text).casefold()
    folded = unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFKD", folded)))
    return _WORD.findall(folded)


def phrase(text: str) -> str:
    """Joins the words of `text` with single spaces. Two texts with the same words give the same phrase."""
    return " ".join(words(text))


def without_symbols(found: list[str]) -> list[str]:
    """Removes emoji from a list of words, so that "STOP 🛑" equals "STOP"."""
    return [word for word in found if not _IS_SYMBOL.match(word)]

"""What makes a text a caption and nothing more: files of others put frames, ids, keys and marks of lists around theirs."""

import re
import unicodedata

from rollout.io.errors import InputError
from rollout.io.text_files import is_text

MAX_CHARACTERS = 1000
UNIT = r"(?:frames?|fr?|s|secs?|seconds?|fps|hz)"
NAMES = (  # of columns, and what stands in an empty cell
    r"(?:captions?|texts?|prompts?|descriptions?|sentences?|samples?|clips?|motions?|examples?|names?|ids?|index|no|nr|numbers?|frames?"
    r"|len|lengths?|durations?|fps|n/a|nan?|none|null)\b"
)
HEADER = re.compile(rf"(?:{NAMES}\W*)+", re.IGNORECASE)
MORE = re.compile(
    rf"""
    ^\W | ^\S*\d                                  # a list's mark, a number (its length? its place?) or a clip's name first
    | ^(?:[a-z]|[ivx]+)[.)]\s | ^\w+\s*[:=] | ^\w+\W+\d+\s*[:=)]            # the place in a list, a key
    | [][{{}}<>|_*\\] | :// | \.(?:np[yz]|txt|bvh)\b  # marks of a file, its name
    | (?:^|[,;]\s*){NAMES}\W*(?:\d|\w?\W*:)       # a name and its value, in any cell
    | [,;]\s*[^\s,;]*\d\d[^\s,;]*\s*(?:[,;]|$)    # a cell of nothing but a number or an id
    | [,;]\W*(?:[\d.]+\s*{UNIT}?|{NAMES}|\w*(?:length|frames))?\W*$         # a last cell of a number or of nothing
    | (?<!agent\ )(?<![\d,.:])(?:0\d\d|\d{{5}})   # a number that does not count: 000021
    | [^\W\d]{{3,}}[-.]?\d\d+\W*$                 # one that hangs on the last word
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A number at the end: of frames or seconds, as some projects write them, unless the word before it takes one ("counts to 10", "does
# a 180", "like a T-800") or it is the angle of a turn ("turns 90").
NUMBER_LAST = re.compile(
    rf"(?:^|(?P<before>\S+)\s+)[^\s\d]*(?P<number>\d+[.:]\d+|\d{{2,}}|\d+(?=\s*f))\s*(?P<unit>{UNIT}?)\W*$", re.IGNORECASE
)
TAKES_NUMBER = set("a about agent almost an at by exactly for from least most nearly number of over than the till to under until".split())
TURNING, ANGLE = re.compile(r"\b(turn|rotat|spin|pivot|twist|twirl)", re.IGNORECASE), 15  # degrees


def require_caption(where: str, text: str, otherwise: str) -> None:
    """InputError, which says `where`, unless `text` is a caption and nothing more.

    otherwise: what to do about a number at the end that may be a length; empty where the length is known, or the caption quoted,
    so that the number is a part of it.
    """
    if not text:
        raise InputError(f"{where}: the prompt is empty")
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{where}: the prompt has {len(text)} characters, expected at most {MAX_CHARACTERS}")
    if not is_text(text):
        raise InputError(f"{where}: the prompt {text[:60]!r} holds a NUL or half a character, expected Unicode text")
    expected, plain = "", unicodedata.normalize("NFKC", text)  # a wide comma is a comma
    if "#" in plain:  # which ends a caption in every file of this trade
        expected = "a caption without #, and its length beside it"
    elif any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in plain):
        expected = "a caption of one line, without tabs"
    elif otherwise and _ends_in_a_length(plain):
        expected = otherwise
    elif HEADER.fullmatch(plain) or MORE.search(plain):
        expected = "a caption alone, and its length beside it if it is stated"
    if expected:
        raise InputError(f"{where}: found {text[:60]!r}, expected {expected}")


def _ends_in_a_length(text: str) -> bool:
    last = NUMBER_LAST.search(text)
    if not last or (last["before"] or "").lower() in TAKES_NUMBER and not last["unit"].lower().startswith("frame"):
        return False
    return not (TURNING.search(text) and last["number"].isdigit() and int(last["number"]) % ANGLE == 0)

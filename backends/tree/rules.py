"""One grammar to choose entries: rules in order, the first that matches decides.

    + PATTERN     take it            - PATTERN     leave it out
A pattern is rsync's: `*` within a name, `**` across names, `?`, `[a-z]`; with a leading `/` it is
anchored at the root of the walk, with another `/` inside it is matched against the end of the
path, else against the name; a trailing `/` restricts it to directories. What no rule matches is
taken. A directory left out is not entered.

Conditions follow a pattern, separated by blanks, and must all hold:
    type=f|d|l|o     file, directory, symlink, other; several letters are alternatives
    size>1M  size<=4096        bytes, with K M G T as powers of 1024; only files have a size
    age>30d  age<12h           since the last modification, with s m h d w
"""

import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import ge, gt, le, lt

from core.errors import InvalidParameters

_SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_COMPARE: dict[str, Callable[[float, float], bool]] = {">=": ge, "<=": le, ">": gt, "<": lt}
_CONDITION = re.compile(
    r"(?:type=(?P<type>[fdlo]+))"
    r"|(?:size(?P<size_op>[<>]=?)(?P<size>\d+)(?P<size_unit>[KMGT]?))"
    r"|(?:age(?P<age_op>[<>]=?)(?P<age>\d+)(?P<age_unit>[smhdw]))",
)
_NS = 10**9

#: The attributes of an entry, asked only when a rule needs them.
Look = Callable[[], "EntryFacts"]


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What conditions look at."""

    mode: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: whether it takes or leaves out, its pattern and its conditions."""

    takes: bool
    pattern: re.Pattern[str]
    whole_path: bool
    directories_only: bool
    conditions: tuple[Callable[[EntryFacts, int], bool], ...]

    def matches(self, path: str, look: Look, now_ns: int) -> bool:
        """Tell whether this rule decides about the entry at `path`."""
        text = path if self.whole_path else path.rpartition("/")[2]
        if not self.pattern.fullmatch(text):
            return False
        if not self.directories_only and not self.conditions:
            return True
        looks = look()
        if self.directories_only and not stat.S_ISDIR(looks.mode):
            return False
        return all(condition(looks, now_ns) for condition in self.conditions)


class Filter:
    """Rules in order; immutable, and cheap to ask when most entries match no pattern."""

    def __init__(self, lines: Iterable[str], now_ns: int) -> None:
        self._rules = tuple(parse_rule(line) for line in lines)
        self._now_ns = now_ns

    def takes(self, path: str, look: Look) -> bool:
        """Tell whether the entry at `path` is taken; `look` gives its attributes when needed."""
        for rule in self._rules:
            if rule.matches(path, look, self._now_ns):
                return rule.takes
        return True


def parse_rule(line: str) -> Rule:
    """Read one line of the grammar.

    Raises:
        InvalidParameters: it is not written that way; the sentence says what is wrong.
    """
    sign, _, rest = line.strip().partition(" ")
    words = rest.split(" ")
    conditions = []
    while len(words) > 1 and (found := _CONDITION.fullmatch(words[-1])):
        conditions.append(_condition(found))
        words.pop()
    pattern = " ".join(words)
    if sign not in ("+", "-") or not pattern.strip("/"):
        raise InvalidParameters(f"A filter rule is '+ PATTERN' or '- PATTERN', not {line!r}.")
    return Rule(
        takes=sign == "+",
        pattern=_compile(pattern.rstrip("/")),
        whole_path="/" in pattern.rstrip("/") or "**" in pattern,
        directories_only=pattern.endswith("/"),
        conditions=tuple(conditions),
    )


def _condition(found: re.Match[str]) -> Callable[[EntryFacts, int], bool]:
    if found["type"]:
        letters = found["type"]
        return lambda looks, _: kind_letter(looks.mode) in letters
    if found["size"]:
        compare = _COMPARE[found["size_op"]]
        limit = int(found["size"]) * _SIZES[found["size_unit"]]
        return lambda looks, _: stat.S_ISREG(looks.mode) and compare(looks.size_bytes, limit)
    compare = _COMPARE[found["age_op"]]
    age_ns = int(found["age"]) * _AGES[found["age_unit"]] * _NS
    return lambda looks, now_ns: compare(now_ns - looks.mtime_ns, age_ns)


def kind_letter(mode: int) -> str:
    """Give the letter of a file type: f, d, l or o."""
    if stat.S_ISREG(mode):
        return "f"
    if stat.S_ISDIR(mode):
        return "d"
    return "l" if stat.S_ISLNK(mode) else "o"


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    anchored = pattern.startswith("/")
    body = "".join(_pieces(pattern.removeprefix("/")))
    inside = "/" in pattern or "**" in pattern
    head = "" if anchored or not inside else "(?:.*/)?"
    return re.compile(head + body, re.DOTALL)


def _pieces(pattern: str) -> Iterable[str]:
    """Translate wildcards to a regular expression, token by token."""
    token = re.compile(r"\*\*/?|\*|\?|\[[!^]?\]?[^\]/]*\]|.", re.DOTALL)
    for found in token.findall(pattern):
        if found == "**/":
            yield "(?:.*/)?"
        elif found == "**":
            yield ".*"
        elif found == "*":
            yield "[^/]*"
        elif found == "?":
            yield "[^/]"
        elif len(found) > 1:
            inner = found[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            yield f"(?!/)[{'^' + inner[1:] if inner[0] in '!^' else inner}]"
        else:
            yield re.escape(found)

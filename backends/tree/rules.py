"""Filter rules that select entries: they apply in order, and the first that matches decides.

    + PATTERN     include it            - PATTERN     exclude it
Patterns are those of rsync: `*` within a name, `**` across names, `?`, `[a-z]`. A leading `/`
anchors a pattern at the root of the walk. A pattern with another `/` inside is matched against the
end of the path, any other against the name. A trailing `/` restricts it to directories. An entry
that no rule matches is included. A directory that is excluded is not entered.

Conditions follow a pattern, separated by blanks, and all must hold:
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

#: Returns the attributes of an entry; called only when a rule needs them.
ReadFacts = Callable[[], "EntryFacts"]


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """The attributes that conditions test."""

    mode: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: whether it includes or excludes, its pattern and its conditions."""

    includes: bool
    pattern: re.Pattern[str]
    whole_path: bool
    directories_only: bool
    conditions: tuple[Callable[[EntryFacts, int], bool], ...]

    def matches(self, path: str, read_facts: ReadFacts, now_ns: int) -> bool:
        """Return whether this rule decides about the entry at `path`."""
        text = path if self.whole_path else path.rpartition("/")[2]
        if not self.pattern.fullmatch(text):
            return False
        if not self.directories_only and not self.conditions:
            return True
        facts = read_facts()
        if self.directories_only and not stat.S_ISDIR(facts.mode):
            return False
        return all(condition(facts, now_ns) for condition in self.conditions)


class Filter:
    """Rules in order. Immutable, and cheap to apply when most entries match no pattern."""

    def __init__(self, lines: Iterable[str], now_ns: int) -> None:
        self.lines = tuple(lines)
        #: The moment from which ages count.
        self.now_ns = now_ns
        self._rules = tuple(parse_rule(line) for line in self.lines)

    def includes(self, path: str, read_facts: ReadFacts) -> bool:
        """Return whether the entry at `path` is included; calls `read_facts` only when needed."""
        for rule in self._rules:
            if rule.matches(path, read_facts, self.now_ns):
                return rule.includes
        return True


def parse_rule(line: str) -> Rule:
    """Return the rule of one line.

    Raises:
        InvalidParameters: the line is not a rule; the error text says why.
    """
    sign, _, rest = line.strip().partition(" ")
    words = rest.split(" ")
    conditions = []
    while len(words) > 1 and (match := _CONDITION.fullmatch(words[-1])):
        conditions.append(_condition(match))
        words.pop()
    pattern = " ".join(words)
    if sign not in ("+", "-") or not pattern.strip("/"):
        raise InvalidParameters(f"A filter rule is '+ PATTERN' or '- PATTERN', not {line!r}.")
    return Rule(
        includes=sign == "+",
        pattern=_compile(pattern.rstrip("/")),
        whole_path="/" in pattern.rstrip("/") or "**" in pattern,
        directories_only=pattern.endswith("/"),
        conditions=tuple(conditions),
    )


def _condition(match: re.Match[str]) -> Callable[[EntryFacts, int], bool]:
    if match["type"]:
        letters = match["type"]
        return lambda facts, _: kind_letter(facts.mode) in letters
    if match["size"]:
        compare = _COMPARE[match["size_op"]]
        limit = int(match["size"]) * _SIZES[match["size_unit"]]
        return lambda facts, _: stat.S_ISREG(facts.mode) and compare(facts.size_bytes, limit)
    compare = _COMPARE[match["age_op"]]
    age_ns = int(match["age"]) * _AGES[match["age_unit"]] * _NS
    return lambda facts, now_ns: compare(now_ns - facts.mtime_ns, age_ns)


def kind_letter(mode: int) -> str:
    """Return the letter of a file type: f, d, l or o."""
    if stat.S_ISREG(mode):
        return "f"
    if stat.S_ISDIR(mode):
        return "d"
    return "l" if stat.S_ISLNK(mode) else "o"


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    anchored = pattern.startswith("/")
    body = "".join(_translate(pattern.removeprefix("/")))
    inside = "/" in pattern or "**" in pattern
    head = "" if anchored or not inside else "(?:.*/)?"
    return re.compile(head + body, re.DOTALL)


def _translate(pattern: str) -> Iterable[str]:
    """Yield the regular expression of a pattern, token by token."""
    token = re.compile(r"\*\*/?|\*|\?|\[[!^]?\]?[^\]/]*\]|.", re.DOTALL)
    for part in token.findall(pattern):
        if part == "**/":
            yield "(?:.*/)?"
        elif part == "**":
            yield ".*"
        elif part == "*":
            yield "[^/]*"
        elif part == "?":
            yield "[^/]"
        elif len(part) > 1:
            inner = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            yield f"(?!/)[{'^' + inner[1:] if inner[0] in '!^' else inner}]"
        else:
            yield re.escape(part)

"""A mutation: one change of the source that the nearest tests must notice."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Mutation:
    """Text of a file between two offsets (characters), what takes its place, and the tests."""

    name: str
    file: str
    begin: int
    end: int
    replacement: str
    tests: tuple[str, ...]

    def applied_to(self, source: str) -> str:
        """Return the mutated source."""
        return source[: self.begin] + self.replacement + source[self.end :]


@cache
def source_of(file: str) -> str:
    """Return the text of a file of the project."""
    return (ROOT / file).read_text("utf-8")


def replaced(name: str, file: str, find: str, replacement: str, *tests: str) -> Mutation:
    """Return the mutation that replaces a text, which the file must have once."""
    count = source_of(file).count(find)
    if count != 1:
        raise ValueError(f"{name}: {file} has the text {count} times: {find!r}")
    begin = source_of(file).index(find)
    return Mutation(name, file, begin, begin + len(find), replacement, tests)

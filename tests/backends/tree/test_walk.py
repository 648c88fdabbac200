import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.tree import Filter, WalkOptions, parse_rule, walk
from backends.tree.processes import Backlog, Sorter
from backends.tree.rules import EntryFacts
from contract.trees import Opener, deep, hostile
from core.errors import InvalidParameters
from core.jobs import Cancelled, Unattended

NOW_NS = 2_000_000_000 * 10**9


def paths(fd: int, **options: object) -> list[str]:
    entries = walk(fd, control=Unattended(), options=WalkOptions(**options))  # type: ignore[arg-type] # keywords of the test
    return [entry.path for entry in entries]


def naive(root: Path) -> list[str]:
    """Return everything below a root, in the order of the bytes of names, parents first."""
    found: list[str] = []
    for name in sorted(os.listdir(os.fsencode(root))):
        path = root / os.fsdecode(name)
        found.append(os.fsdecode(name))
        if path.is_dir() and not path.is_symlink():
            found += [f"{os.fsdecode(name)}/{below}" for below in naive(path)]
    return found


def test_the_order_is_stable_and_every_entry_comes_once(tmp_path: Path, anchor: Opener) -> None:
    root = hostile(tmp_path / "a")
    assert paths(anchor(root)) == naive(root)


def test_from_any_entry_the_walk_continues_after_it(tmp_path: Path, anchor: Opener) -> None:
    root = hostile(tmp_path / "a")
    everything = naive(root)
    for number, path in enumerate(everything):
        assert paths(anchor(root), after=path) == everything[number + 1 :]


def test_a_path_far_over_path_max_is_walked(tmp_path: Path, anchor: Opener) -> None:
    deep(tmp_path)
    found = paths(anchor(tmp_path))
    assert len(found) == 61
    assert len(found[-1]) > 4096


def test_a_stop_takes_effect_inside_one_directory(tmp_path: Path, anchor: Opener) -> None:
    for number in range(300):
        (tmp_path / str(number)).write_text("")

    class Stopping(Unattended):
        def check(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(walk(anchor(tmp_path), control=Stopping()))


def test_backlog_and_sorter_keep_everything_beyond_memory() -> None:
    backlog, sorter = Backlog(in_memory=8), Sorter(in_memory=8)
    words = [f"n\udcff{number}" for number in range(1000)]
    for word in words:
        backlog.push(word)
        sorter.add(os.fsencode(word)[::-1])
    assert len(sorter) == 1000
    assert list(sorter) == sorted(os.fsencode(word)[::-1] for word in words)
    popped = []
    while (word := backlog.pop()) is not None:
        popped.append(word)
    assert popped == words[::-1]
    backlog.close()
    sorter.close()


@pytest.mark.parametrize(
    ("rules", "taken"),
    [
        (["- *.tmp"], ["a", "a/b.txt", "x.log"]),
        (["- a/"], ["x.log", "y.tmp"]),
        (["- /a/b.txt"], ["a", "a/c.tmp", "x.log", "y.tmp"]),
        (["+ a/", "+ b.*", "- *"], ["a", "a/b.txt"]),
        (["- ** type=f"], ["a"]),
        (["+ x.*", "- * type=f"], ["a", "x.log"]),
        (["- * size>3"], ["a", "a/b.txt", "x.log"]),
        (["- * size>=1K"], ["a", "a/b.txt", "x.log"]),
        (["- * age>1d type=f"], ["a", "a/b.txt", "a/c.tmp", "y.tmp"]),
        (["- a/**"], ["a", "x.log", "y.tmp"]),
        (["- [xy].*"], ["a", "a/b.txt", "a/c.tmp"]),
        (["- [!x].*"], ["a", "x.log"]),
        (["- ?.txt"], ["a", "a/c.tmp", "x.log", "y.tmp"]),
    ],
)
def test_the_first_rule_that_matches_decides(
    tmp_path: Path, anchor: Opener, rules: list[str], taken: list[str]
) -> None:
    (tmp_path / "a").mkdir()
    for name, size in {"a/b.txt": 3, "a/c.tmp": 2000, "x.log": 1, "y.tmp": 1024}.items():
        (tmp_path / name).write_bytes(b"x" * size)
        when = NOW_NS - (2 * 86400 * 10**9 if name == "x.log" else 0)
        os.utime(tmp_path / name, ns=(when, when))
    expected = [p for p in naive(tmp_path) if p in taken]
    assert paths(anchor(tmp_path), filter=Filter(rules, NOW_NS)) == expected


@pytest.mark.parametrize("line", ["", "*.tmp", "+", "- ", "* x", "+ /", "exclude x"])
def test_an_invalid_rule_is_refused(line: str) -> None:
    with pytest.raises(InvalidParameters):
        parse_rule(line)


def oracle(pattern: str, path: str) -> bool:
    """Match by trying all ways: without regular expressions, by the words of the grammar."""
    anchored = pattern.startswith("/")
    bare = pattern.removeprefix("/")
    if "/" not in pattern and "**" not in pattern:
        return glob(bare, path.rpartition("/")[2])
    if anchored:
        return glob(bare, path)
    parts = path.split("/")
    return any(glob(bare, "/".join(parts[n:])) for n in range(len(parts)))


def glob(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern.startswith("*"):
        rest, stops = pattern.lstrip("*"), range(len(text) + 1)
        if not pattern.startswith("**"):
            stops = range((text.find("/") if "/" in text else len(text)) + 1)
        elif rest.startswith("/"):
            rest = rest[1:]
            stops = [0, *(n + 1 for n, c in enumerate(text) if c == "/")]
        return any(glob(rest, text[n:]) for n in stops)
    fits = bool(text) and (text[0] == pattern[0] or (pattern[0] == "?" and text[0] != "/"))
    return fits and glob(pattern[1:], text[1:])


names = st.text(alphabet="ab.", min_size=1, max_size=3)
patterns = st.text(alphabet="ab.*?/", min_size=1, max_size=7).filter(
    lambda p: p.strip("/") and "//" not in p and "***" not in p and not p.endswith("/")
)


@settings(max_examples=300, deadline=None)
@given(
    rules=st.lists(st.tuples(st.booleans(), patterns), max_size=4),
    path=st.lists(names, min_size=1, max_size=4).map("/".join),
)
def test_any_filter_agrees_with_the_oracle(rules: list[tuple[bool, str]], path: str) -> None:
    expected = next((takes for takes, pattern in rules if oracle(pattern, path)), True)
    chosen = Filter([f"{'+' if takes else '-'} {pattern}" for takes, pattern in rules], NOW_NS)
    facts = EntryFacts(stat.S_IFREG, 0, 0)
    assert chosen.includes(path, lambda: facts) == expected

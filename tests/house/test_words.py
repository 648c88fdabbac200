"""Plain English: words that the house does without, in source, documents and tests."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Each banned expression and what to write in its place.
BANNED = {
    r"told": "reported, published, said (by which component?)",
    r"anew": "again",
    r"whoever|whom|whomever": "name the component: the caller, the process, the worker",
    r"forsaken?|forsakes|forsook": "abandon",
    r"hands|in the hands of": "helpers, workers, processes; hand-over is transfer or pass",
    r"nobody|somebody|everybody": "name who: no caller, another process, all readers",
    r"himself|herself|he|him|his|she|her": "it, its, the process, the caller",
    r"lest|thereof|whence|wherein|shall|hence|thereby|thereupon|henceforth": "plain words",
    r"riddle|riddles": "say it directly",
    r"wish|wishes|wished": "request, setting, precondition",
    r"as it is|so it is|of its kind|and be done": "say what it is",
    r"keeper|herald|courier|atlas": "quota helper, event publisher, event delivery, node directory",
    r"lean|offload": "short, fast; sendfile worker",
    r"for want of": "because there is no",
    r"behind (?:our|the) back": "without our knowledge",
}
#: A word after a colon without a space is part of a Redis key, which keeps its name.
EXPRESSION = re.compile(rf"(?<![\w.':-])(?:{'|'.join(BANNED)})(?![\w'])", re.IGNORECASE)
SUFFIXES = {
    *(".c", ".conf", ".css", ".html", ".js", ".lua", ".md", ".py", ".pyi", ".service", ".sh"),
    *(".svg", ".toml", ".yml"),
}
NAMES = {"Dockerfile", "Makefile", "Procfile"}
#: Words of others, as they wrote them; and this file, which lists the words.
EXEMPT = (
    "api/http/vendored/",
    "api/doors/console/dist/",
    "LICENSE",
    "tests/house/test_words.py",
    "tests/house/test_names.py",
)
#: Words that a stored format fixes: files of older versions have them.
STORED = {
    "backends/tree/copy/ledger.py": ('"anew"',),
    "workers/verbs/transfer/helpers.py": ('"hands"', '"anew"'),
}


def texts() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        name
        for name in listed
        if (Path(name).suffix in SUFFIXES or Path(name).name in NAMES)
        and not name.startswith(EXEMPT)
        and (ROOT / name).is_file()
    ]


def found(name: str) -> list[str]:
    """Every banned expression of a file, as `file:line: words`."""
    text = (ROOT / name).read_text("utf-8")
    for word in STORED.get(name, ()):
        text = text.replace(word, "")
    return [
        f"{name}:{number}: {match.group(0)}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in EXPRESSION.finditer(line)
    ]


def test_texts_do_without_the_banned_words() -> None:
    wrong = [hit for name in texts() for hit in found(name)]
    assert not wrong, "\n".join(wrong)

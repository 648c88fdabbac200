"""docs/jobs-faults.md names every test of tests/chaos and tests/durability, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_and_the_tests_name_each_other() -> None:
    page = (ROOT / "docs" / "jobs-faults.md").read_text("utf-8")
    rooms = ("chaos", "durability")
    files = [file for room in rooms for file in (ROOT / "tests" / room).glob("test_*.py")]
    tests = [
        re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE) for file in files
    ]
    named = re.findall(r"`(test_\w+)`", page)
    assert sorted(named) == sorted(name for found in tests for name in found)

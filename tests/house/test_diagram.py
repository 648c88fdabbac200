"""The diagram in the documents is the one that the code draws."""

from pathlib import Path

from core.jobs import State
from core.jobs.diagram import drawn_into, mermaid
from core.jobs.job import TRANSITIONS, Move

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "jobs.md"


def test_the_document_shows_what_the_code_does() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert drawn_into(text) == text, "run `python -m core.jobs.diagram docs/jobs.md`"


def test_the_diagram_shows_every_move() -> None:
    drawn = mermaid()
    assert "running --> cancelling: cancel, expire" in drawn
    assert all(move.value in drawn for move in Move)
    assert not any(
        f"{state.value} --> " in drawn.replace("--> [*]", "") for state in State if state.ended
    )
    assert {old for old, _ in TRANSITIONS} == {state for state in State if not state.ended}

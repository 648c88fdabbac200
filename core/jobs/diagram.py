"""The states of a job as a diagram, made from the table of transitions.

`python -m core.jobs.diagram docs/jobs.md` writes the diagram into a document, between its two
marks. A test fails when the document has another diagram.
"""

import sys
from pathlib import Path

from core.jobs.job import TRANSITIONS, State

BEGIN, END = "<!-- states: made by core/jobs/diagram.py -->", "<!-- end of states -->"


def mermaid() -> str:
    """Return the states and the moves between them as a Mermaid state diagram."""
    moves: dict[tuple[State, State], list[str]] = {}
    for (old, move), news in TRANSITIONS.items():
        for new in news:
            moves.setdefault((old, new), []).append(move.value)
    order = list(State)
    lines = ["stateDiagram-v2", f"    [*] --> {State.QUEUED.value}: submit"]
    for old, new in sorted(moves, key=lambda pair: (order.index(pair[0]), order.index(pair[1]))):
        lines.append(f"    {old.value} --> {new.value}: {', '.join(moves[old, new])}")
    lines += [f"    {state.value} --> [*]" for state in order if state.ended]
    return "```mermaid\n" + "\n".join(lines) + "\n```"


def drawn_into(text: str) -> str:
    """Return the document with the present diagram between its marks.

    Raises:
        ValueError: the document has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{mermaid()}\n{END}{after}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(drawn_into(document.read_text("utf-8")), "utf-8")

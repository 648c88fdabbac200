"""What a copy did, as facts in a document and in words."""

from typing import Any

from backends.tree import Receipt
from core.names import counted

#: Numbers of changes of the source, in the facts of a copy.
CHANGES = ("changed", "changed_since", "not_in_copy")
#: Most examples of what could not be kept, of each class.
EXAMPLES_MAX = 10


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """Return as JSON what a copy kept and what it could not keep."""
    return {
        "files": receipt.files,
        "directories": receipt.directories,
        "links": receipt.links,
        "hard_links": receipt.hard_links,
        "copied_bytes": receipt.size_bytes,
        "complete": receipt.complete,
        "not_kept": {
            loss.value: {"count": count, "examples": receipt.examples.get(loss, [])}
            for loss, count in receipt.losses.items()
        },
    }


def joined(facts: dict[str, Any], fetched: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of an overlay with what its copy from another node could not keep."""
    changes = {name: facts[name] + fetched[name] for name in CHANGES}
    agreed = {name: facts[name] and fetched[name] for name in ("complete", "sure")}
    not_kept = dict(facts["not_kept"])
    for loss, lost in fetched["not_kept"].items():
        own = not_kept.get(loss, {"count": 0, "examples": []})
        examples = [*lost["examples"], *own["examples"]][:EXAMPLES_MAX]
        not_kept[loss] = {"count": lost["count"] + own["count"], "examples": examples}
    return facts | changes | agreed | {"not_kept": not_kept}


def amounts_of(facts: dict[str, Any]) -> list[str]:
    """Return in words what a copy made; directories only where there is nothing else."""
    made = []
    if files := facts.get("files", 0) + facts.get("hard_links", 0):
        made.append(counted(files, "file"))
    if facts.get("links"):
        made.append(counted(facts["links"], "link"))
    if facts.get("copied"):  # XCP does not say of which kind
        made.append(counted(facts["copied"], "entry", "entries"))
    if not made and facts.get("directories"):
        made.append(counted(facts["directories"], "directory", "directories"))
    return made


def items_of(facts: dict[str, Any]) -> int | None:
    """Return how many entries a copy made; None where that is not known."""
    kinds = ("files", "hard_links", "links", "directories")
    made = sum(facts.get(kind, 0) for kind in kinds) + (facts.get("copied") or 0)
    return made or (0 if "files" in facts else None)


def left_words(result: dict[str, Any], missed: int, *, nothing: bool) -> list[str]:
    """Return in words what a transfer did beside its copies; `missed` entries failed."""
    left = [
        f"{result[name]:,} {words}"
        for name, words in (("same", "were the same"), ("kept", "stay as they are"))
        if result.get(name)
    ]
    if missed:
        left.append(f"{missed:,} could not be transferred")
    if result["extra_removed"]:
        left.append(f"{result['extra_removed']:,} extra were removed")
    if nothing and not left:
        left.append("no entry of the source matches")
    return left

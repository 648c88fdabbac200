"""The scripts of the store: their texts, with the shared parts and constants before them."""

from functools import cache
from importlib.resources import files

from core.jobs.requests import CONFLICTS
from core.jobs.store.messages import PREFIX

#: The number of the present layout of keys. Another one is migrated (`migration`).
LAYOUT = "3"
#: The jobs that one script wakes and admits at most; `proceed` continues. 50 cost about 2 ms.
BATCH = 50
#: The shared parts, in their order.
_SHARED = ("record", "layout", "locks", "lanes", "bandwidth", "moves")
#: Scripts that need fewer of them: they read no queue, or they run before the migration has ended.
_FEWER = {
    "share": ("record", "bandwidth"),
    "purge_share": (),
    "migrate": ("record", "locks", "lanes"),
}


@cache
def script_texts(batch: int = BATCH) -> tuple[tuple[str, str], ...]:
    """Return every script by name, each complete; the files are read once."""
    folder = files(__package__) / "scripts"
    shared = {name: (folder / "shared" / f"{name}.lua").read_text("utf-8") for name in _SHARED}
    names = sorted(f.name.removesuffix(".lua") for f in folder.iterdir() if f.name.endswith(".lua"))
    start = _constants(batch)
    return tuple(
        (
            name,
            start
            + "".join(shared[part] for part in _FEWER.get(name, _SHARED))
            + (folder / f"{name}.lua").read_text("utf-8"),
        )
        for name in names
    )


def _constants(batch: int) -> str:
    modes = ", ".join(f"'{mode}'" for mode in CONFLICTS)
    conflicts = ", ".join(
        f"{mode} = {{ {', '.join(repr(str(other)) for other in others)} }}"
        for mode, others in CONFLICTS.items()
    )
    return (
        f"local P, LAYOUT, BATCH = '{PREFIX}', '{LAYOUT}', {batch}\n"
        f"local MODES, CONFLICTS = {{ {modes} }}, {{ {conflicts} }}\n"
    )

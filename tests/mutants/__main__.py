"""Plant one bug at a time in a copy of the tree, and let the tests nearest to it find it.

    python -m tests.mutants [--list] [-n copies] [group or part of a name …]

The groups are `syncs`, `kinds` and `others`. Prints each mutation with `killed` or `SURVIVED`, and
the share that was killed. Ends with 1 when the share is too small, and with 2 when the tests fail
without a mutation.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.copies import Result, fail_without, fill, tried
from tests.mutants.mutation import Mutation
from tests.mutants.table import GROUPS, mutations

KILLED_SHARE_MIN = 0.95
#: Copies in which mutations are tried beside each other.
COPIES = 2


def main() -> int:
    """Run the mutations whose groups or names fit the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help="groups or parts of names; all without any")
    parser.add_argument("-n", type=int, default=COPIES, help="copies beside each other")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    options = parser.parse_args()
    chosen = _chosen(options.parts)
    if options.list:
        sys.stdout.write("".join(f"{one.name}\n" for one in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        copies = [Path(directory, str(number)) for number in range(max(1, options.n))]
        for copy in copies:
            fill(copy)
        return _run(chosen, copies)


def _chosen(parts: list[str]) -> list[Mutation]:
    """Return the mutations of the named groups, and those whose name has one of the other parts."""
    groups = [part for part in parts if part in GROUPS]
    words = [part for part in parts if part not in GROUPS]
    found = {one.name: one for one in mutations(*groups)} if groups or not parts else {}
    for one in mutations() if words else ():
        if any(word in one.name for word in words):
            found[one.name] = one
    return list(found.values())


def _run(chosen: list[Mutation], copies: list[Path]) -> int:
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def in_a_copy(one: Mutation) -> Result:
        copy = free.get()
        try:
            return tried(one, copy)
        finally:
            free.put(copy)

    if failure := fail_without(chosen, copies):
        _say(f"without a mutation fails {failure}")
        return 2
    survived = []
    with ThreadPoolExecutor(len(copies)) as pool:
        for result in pool.map(in_a_copy, chosen):
            _say(result.text())
            if not result.failure:
                survived.append(result.mutation)
    share = 1 - len(survived) / len(chosen) if chosen else 1.0
    _say(f"{len(chosen) - len(survived)} of {len(chosen)} killed: {share:.1%}")
    for one in survived:
        _say(f"survived: {one.name}")
    return int(share < KILLED_SHARE_MIN)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""List the benchmarks, or run some by name: `python -m benchmarks [NAME…] [--option value…]`.

A benchmark is a module of this folder with a `main(arguments)`; the first line of its docstring
says what it measures. Without names all are run, with `--list` they are only listed.
"""

import ast
import importlib
import os
import platform
import signal
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Give the names of the benchmarks and what they measure, without importing them."""
    found = {}
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").splitlines()[0]
    return found


def machine() -> str:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**3
    load = os.getloadavg()[0]
    return (
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"{cores} cores, {memory} GiB, load {load:.1f}"
    )


def main(arguments: list[str]) -> int:
    known = benchmarks()
    options = [word for word in arguments if word.startswith("-")]
    names = []
    while arguments and not arguments[0].startswith("-"):
        names.append(arguments.pop(0))
    if "--list" in options:
        for name, purpose in known.items():
            print(f"{name:12} {purpose}")
        return 0
    unknown = set(names) - set(known)
    if unknown:
        print(f"No benchmark is called {', '.join(sorted(unknown))}; --list names them.")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that mounts are taken away again
    print(machine(), flush=True)
    for name in names or known:
        print(f"\n## {name}: {known[name]}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

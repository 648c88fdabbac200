"""List the benchmarks, or run some by name: `python -m benchmarks [NAME…] [--option value…]`.

A benchmark is a module of this folder with a `main(arguments)`; the first line of its docstring
says what it measures. Without names all are run, with `--list` they are only listed.
"""

import importlib
import os
import pkgutil
import platform
import signal
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent


def benchmarks() -> dict[str, ModuleType]:
    found = {}
    for info in pkgutil.iter_modules([str(FOLDER)]):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"benchmarks.{info.name}")
            if hasattr(module, "main"):
                found[info.name] = module
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
        for name, module in known.items():
            print(f"{name:12} {(module.__doc__ or '').splitlines()[0]}")
        return 0
    unknown = set(names) - set(known)
    if unknown:
        print(f"No benchmark is called {', '.join(sorted(unknown))}; --list names them.")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that mounts are taken away again
    print(machine(), flush=True)
    for name in names or known:
        print(f"\n## {name}: {(known[name].__doc__ or '').splitlines()[0]}", flush=True)
        known[name].main(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

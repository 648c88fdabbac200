"""Threads that read the first value of a record's type together.

msgspec builds what it knows of a type at the first use. Its version 0.22 gave the half-built facts
to the other threads: the first requests of a new door, ten at once, ended it with SIGSEGV.
"""

import subprocess
import sys

#: Eight threads, 100 types that no thread has met, switches between threads as often as possible.
_PROGRAM = """
import sys, threading, typing
import msgspec

sys.setswitchinterval(1e-6)
THREADS, TYPES, FIELDS = 8, 100, 20
inner = {f"f{number}": "x" for number in range(FIELDS)}
value = {"one": inner, "many": [inner]}
for number in range(TYPES):
    fields = [(name, "Annotated[str, Meta(max_length=9)] | None") for name in inner]
    names = {"Annotated": typing.Annotated, "Meta": msgspec.Meta}
    module = type(sys)(f"types{number}")
    sys.modules[module.__name__] = module
    vars(module).update(names)
    module.Inner = msgspec.defstruct("Inner", fields, module=module.__name__)
    module.Outer = msgspec.defstruct(
        "Outer", [("one", "Inner"), ("many", "list[Inner]")], module=module.__name__
    )
    barrier, found = threading.Barrier(THREADS), []

    def read(shape=module.Outer):
        barrier.wait()
        found.append(msgspec.convert(value, shape).many[0].f3)

    threads = [threading.Thread(target=read) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["x"] * THREADS, found
print("whole")
"""


def test_threads_that_read_a_type_first_together_get_their_values() -> None:
    command = [sys.executable, "-c", _PROGRAM]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "whole"), ended.stderr

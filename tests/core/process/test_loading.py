"""Starts run without collections, and what they load is not collected later."""

import gc
import subprocess
import sys

import pytest

from core.process import loading

#: Loads a package as a door does, and prints what the collector looks at then.
_PROGRAM = """
import gc
from core.process import loading
with loading():
    import flask
    print(gc.isenabled())
print(gc.isenabled(), len(gc.get_objects()) < 100, gc.get_freeze_count() > 10_000)
"""


def test_what_was_loaded_is_not_looked_at_again() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    assert answer.stdout.split() == ["False", "True", "True", "True"]


def test_a_failure_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()

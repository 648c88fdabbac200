import threading

import pytest

from api.volumes import Deadlines, InlineCalls, inline_calls
from core.errors import DeadlineExceeded


def test_quick_calls_stay_on_their_thread() -> None:
    assert InlineCalls(Deadlines(1)).call("v", threading.get_ident) == threading.get_ident()


def test_a_hung_volume_keeps_only_its_first_calls() -> None:
    gate = InlineCalls(Deadlines(0.2))
    hung, healed = threading.Event(), threading.Event()

    def hang() -> None:
        hung.set()
        healed.wait(300)

    first = threading.Thread(target=gate.call, args=("v", hang))
    first.start()
    assert hung.wait(60)
    begun = gate._began["v"]
    begun[next(iter(begun))] -= inline_calls.SUSPECT_SECONDS * 2  # long ago
    with pytest.raises(DeadlineExceeded):
        gate.call("v", healed.wait, 300)
    assert gate.call("other", threading.get_ident) == threading.get_ident()
    healed.set()
    first.join(60)
    assert gate.call("v", threading.get_ident) == threading.get_ident()

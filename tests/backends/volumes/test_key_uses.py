"""The last use of keys: written behind the requests, by one write for each key at a time."""

import threading
from typing import Any
from uuid import UUID

from backends.volumes.access.subjects import SubjectStore
from core.access import Scope, Subject
from core.access.credentials.keys import ApiKey, HeldKey
from core.errors import Unavailable

NOW = 1_800_000_000.0


class HungVolume:
    """The home volume: it answers, with an error, when the test lets it."""

    def __init__(self) -> None:
        self.begun, self.goes_on = threading.Semaphore(0), threading.Event()

    def on_volume(self, *_: Any, **__: Any) -> Any:
        self.begun.release()
        assert self.goes_on.wait(60)
        raise Unavailable("The volume is away.")


def test_a_home_volume_that_hangs_has_one_write_for_each_key() -> None:
    volume: Any = HungVolume()
    client: Any = Client()
    store = SubjectStore("local", ["secret"], volume, client)
    user = Subject(kind="user", id=UUID(int=1))
    held = [
        HeldKey(
            user,
            ApiKey(
                id=name,
                digest="",
                scopes=(Scope.FILES_READ,),
                created_at=NOW - 1000,
                expires_at=NOW + 1000,
            ),
        )
        for name in ("one", "two")
    ]
    for second in range(100):
        for one in held:
            store.note_use(one, NOW + second, "192.0.2.7")
    assert volume.begun.acquire(timeout=60)
    volume.goes_on.set()
    assert volume.begun.acquire(timeout=60)
    store._uses.shutdown()
    assert not volume.begun.acquire(blocking=False), "no write but one of each key"


class Client:
    """A client of the store that nothing asks."""

    def register_script(self, _: str) -> Any:
        return None

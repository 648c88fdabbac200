"""Scripts called by their digest, on a real Valkey."""

from collections.abc import Iterator

import pytest
import redis

from contract.waiting import eventually
from core.redis import ScriptCall
from tests.support.valkey import Valkey

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


@pytest.fixture
def client(valkey: Valkey) -> Iterator["redis.Redis"]:
    with valkey.client() as found:
        found.flushdb()
        yield found


def test_a_script_that_nobody_knows_is_told_once(client: "redis.Redis") -> None:
    add = ScriptCall(client, ADD)
    client.script_flush()
    assert [add(["a"], ["2"]), add(["a"], ["3"])] == [2, 5]
    client.script_flush()
    assert add(["a"], ["1"]) == 6


def test_meanwhile_is_before_the_answer_and_after_the_question(client: "redis.Redis") -> None:
    add = ScriptCall(client, ADD)
    add(["a"], ["1"])
    seen: list[str] = []

    def look() -> None:
        eventually(lambda: client.get("a") == "3")  # by another connection
        seen.append("3")

    assert add(["a"], ["2"], look) == 3
    assert seen == ["3"]


def test_nobody_gets_the_answer_of_another(client: "redis.Redis") -> None:
    add = ScriptCall(client, ADD)
    add(["a"], ["1"])

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        add(["a"], ["10"], fail)
    assert add(["b"], ["1"]) == 1
    client.set("text", "no number")
    with pytest.raises(redis.ResponseError):
        add(["text"], ["1"])
    assert add(["b"], ["1"]) == 2


def test_after_a_restart_of_the_server(valkey: Valkey, client: "redis.Redis") -> None:
    add = ScriptCall(client, ADD)
    assert add(["a"], ["1"]) == 1
    valkey.restart()
    with valkey.client() as other:
        assert add(["c"], ["1"]) == int(other.get("c") or 0) == 1

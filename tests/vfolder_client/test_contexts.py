"""Contexts: a file that only its owner reads, and an environment that wins as a pair."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfolder_client import Context, Contexts, check_key, check_url, current_context
from vfolder_client.errors import ContextError

KEY = "vfk_abc_secret"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "vfolder" / "contexts.toml"


def test_contexts_are_kept_for_their_owner_alone(path: Path) -> None:
    contexts = Contexts(path)
    contexts.add(Context("work", "https://a.example", KEY))
    contexts.add(Context("my.home-2", "https://b.example", "other", "/etc/ca.pem"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["contexts.toml"]
    again = Contexts(path)
    assert again.current == "my.home-2"
    assert again.get() == Context("my.home-2", "https://b.example", "other", "/etc/ca.pem")
    again.use("work")
    assert Contexts(path).get().key == KEY
    again.remove("work")
    assert Contexts(path).current is None
    with pytest.raises(ContextError, match="vfolder login"):
        Contexts(path).get()


def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    Contexts(path).add(Context("work", "https://a.example", KEY))
    path.chmod(0o640)
    with pytest.raises(ContextError, match="chmod 600"):
        Contexts(path)


@pytest.mark.parametrize(
    "text",
    [
        "current = ",
        '[context.a]\nurl = "https://x"\n',
        "[context]\na = 1\n",
        '[context.a]\nurl=1\nkey="k"\n',
    ],
)
def test_a_damaged_file_is_named(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ContextError, match=r"contexts\.toml"):
        Contexts(path)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-x", 'a"b', "ä", "x" * 65])
def test_names_are_plain(path: Path, name: str) -> None:
    with pytest.raises(ContextError):
        Contexts(path).add(Context(name, "https://a.example", KEY))
    assert not path.exists()


def test_a_key_is_in_no_text_of_a_context() -> None:
    assert KEY not in repr(Context("a", "https://a.example", KEY))


@pytest.mark.parametrize(
    "url",
    [
        "storage.example",
        "ftp://storage.example",
        "http://storage.example",
        "https://",
        "https://user@storage.example",
        "https://storage.example/?a=1",
    ],
)
def test_urls_that_would_not_do_are_refused(url: str) -> None:
    with pytest.raises(ContextError):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    ["https://storage.example/", "http://127.0.0.1:6021", "http://localhost", "http://[::1]:80"],
)
def test_urls_that_do(url: str) -> None:
    assert check_url(url) == url.rstrip("/")


def test_plain_http_has_to_be_meant() -> None:
    assert check_url("http://storage.example", plain_http=True) == "http://storage.example"


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "schlüssel"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ContextError):
        check_key(text)


def test_the_environment_wins_as_a_pair(tmp_path: Path) -> None:
    base = tmp_path / "config"
    Contexts(base / "vfolder" / "contexts.toml").add(Context("work", "https://a.example", KEY))
    key_file = tmp_path / "key"
    key_file.write_text("other\n")
    environ = {"XDG_CONFIG_HOME": str(base)}
    assert current_context(environ=environ).url == "https://a.example"
    # The URL alone is that of a manager door: the key of a context never goes there.
    alone = environ | {"VFOLDER_URL": "https://evil.example"}
    assert current_context(environ=alone).url == "https://a.example"
    both = alone | {"VFOLDER_KEY_FILE": str(key_file)}
    found = current_context(environ=both)
    assert (found.url, found.key) == ("https://evil.example", "other")
    assert current_context("work", both).key == KEY
    with pytest.raises(ContextError, match="VFOLDER_URL"):
        current_context(environ=environ | {"VFOLDER_KEY_FILE": str(key_file)})
    with pytest.raises(ContextError, match="other-name"):
        current_context(environ=environ | {"VFOLDER_CONTEXT": "other-name"})


# -- The keyring -----------------------------------------------------------------------------------
@pytest.fixture
def keyring_file(tmp_path: Path) -> Iterator[Path]:
    """A keyring that keeps its texts in a file, as a plugin of `keyring`."""
    keyring = pytest.importorskip("keyring")
    path = tmp_path / "keyring.json"

    class FileKeyring(keyring.backend.KeyringBackend):  # type: ignore[misc, name-defined] # an extra
        priority = 1

        def known(self) -> dict[str, str]:
            return dict(json.loads(path.read_text())) if path.exists() else {}

        def get_password(self, service: str, username: str) -> str | None:
            return self.known().get(f"{service} {username}")

        def set_password(self, service: str, username: str, password: str) -> None:
            path.write_text(json.dumps(self.known() | {f"{service} {username}": password}))

        def delete_password(self, service: str, username: str) -> None:
            known = self.known()
            if known.pop(f"{service} {username}", None) is None:
                raise keyring.errors.PasswordDeleteError("There is none.")
            path.write_text(json.dumps(known))

    before = keyring.get_keyring()
    keyring.set_keyring(FileKeyring())
    yield path
    keyring.set_keyring(before)


def test_a_key_is_in_the_keyring_alone(tmp_path: Path, keyring_file: Path) -> None:
    path = tmp_path / "contexts.toml"
    kept = Contexts(path).add(Context("work", "https://a.example", "vfk_secret"))
    assert kept.in_keyring
    assert "vfk_secret" not in path.read_text()
    assert Contexts(path).get().key == "vfk_secret"
    Contexts(path).add(Context("work", "https://a.example", "vfk_plain"), keyring=False)
    assert Contexts(path).get().key == "vfk_plain"
    assert "work" not in keyring_file.read_text(), "the former key is gone"
    Contexts(path).add(Context("work", "https://a.example", "vfk_secret"))
    Contexts(path).remove("work")
    assert "work" not in keyring_file.read_text()


def test_a_keyring_that_lost_a_key_is_named(tmp_path: Path, keyring_file: Path) -> None:
    path = tmp_path / "contexts.toml"
    Contexts(path).add(Context("work", "https://a.example", "vfk_secret"))
    keyring_file.unlink()
    with pytest.raises(ContextError, match="keyring has no key of work"):
        Contexts(path).get()
    Contexts(path).use("work")
    Contexts(path).remove("work")
    assert Contexts(path).known == {}

"""Contexts: the services that a person uses, each with its URL and key.

They lie in `~/.config/vfolder/contexts.toml` (below `XDG_CONFIG_HOME` where that is set), readable
by their owner only. With the extra `keyring` the keys are in the keyring of the system, if it has
one. `VFOLDER_URL` and `VFOLDER_KEY_FILE`, set together, win over the file.
"""

import json
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vfolder_client.documents import is_private
from vfolder_client.errors import ContextError

#: Others may do nothing with the file.
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LOGIN = "`vfolder login URL` makes one"


@dataclass(frozen=True, slots=True)
class Context:
    """One service: where it is, and by which key."""

    name: str
    url: str
    key: str
    #: A file with the certificate of the authority; None trusts what the system trusts.
    ca: str | None = None
    #: Whether the keyring of the system has the key, and the file does not.
    in_keyring: bool = False

    def __repr__(self) -> str:
        """Return the context without its key."""
        return f"Context(name={self.name!r}, url={self.url!r})"


def contexts_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the contexts lie."""
    base = environ.get("XDG_CONFIG_HOME", "")
    top = Path(base) if base.startswith("/") else Path.home() / ".config"
    return top / "vfolder" / "contexts.toml"


def check_url(url: str, *, plain_http: bool = False) -> str:
    """Return the URL of a door without a slash at its end.

    Raises:
        ContextError: it is no such URL, or it would send the key over a network in the clear.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ContextError(f"{url} is not the address of a door; write https://host[:port].")
    if parts.username or parts.query or parts.fragment:
        raise ContextError("The address of a door has no user, query or fragment.")
    if not plain_http and not is_private(url):
        raise ContextError(
            f"{url} is not encrypted: everyone on the way could read the key. Use https, or "
            "allow this with --plain-http."
        )
    return url.rstrip("/")


class Contexts:
    """The file of contexts: read, and replaced as one.

    Raises:
        ContextError: the file is not TOML, or others than its owner may read it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or contexts_path()
        self.current: str | None = None
        self.known: dict[str, Context] = {}
        self._read()

    def _read(self) -> None:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if mode & _OTHERS:
                    raise ContextError(
                        f"{self.path} holds keys and others may read it; run: chmod 600 {self.path}"
                    )
                document = tomllib.load(file)
        except FileNotFoundError:
            return
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ContextError(f"{self.path} cannot be read: {error}") from None
        tables = document.get("context", {})
        self.known = {name: self._context(name, table) for name, table in tables.items()}
        current = document.get("current")
        self.current = current if current in self.known else None

    def _context(self, name: str, table: Any) -> Context:  # noqa: ANN401 - any TOML value
        try:
            in_keyring = table.get("keyring") is True
            url, key, ca = table["url"], "" if in_keyring else table["key"], table.get("ca")
        except (KeyError, TypeError, AttributeError):
            raise ContextError(f"{self.path}: context {name} needs url and key.") from None
        if not all(isinstance(one, str) for one in (url, key, ca or "")):
            raise ContextError(f"{self.path}: context {name} has a value that is no text.")
        return Context(name, url, key, ca, in_keyring)

    def get(self, name: str | None = None) -> Context:
        """Return a context; the current one without a name.

        Raises:
            ContextError: there is none.
        """
        chosen = name or self.current
        if chosen is None:
            raise ContextError(f"No context is current; {_LOGIN}.")
        if chosen not in self.known:
            raise ContextError(f"There is no context {chosen}; {_LOGIN}.")
        found = self.known[chosen]
        return replace(found, key=_from_keyring(found)) if found.in_keyring else found

    def use(self, name: str) -> None:
        """Make a context the current one."""
        self._check(name)
        self.current = name
        self._write()

    def _check(self, name: str) -> None:
        if name not in self.known:
            raise ContextError(f"There is no context {name}; {_LOGIN}.")

    def add(self, context: Context, *, keyring: bool = True) -> Context:
        """Keep a context, in place of an older one of its name, and make it current.

        Return what is kept: the key is in the keyring of the system, if there is one and
        `keyring` is true, else in the file.

        Raises:
            ContextError: the name has other characters than letters, digits, `_`, `.`, `-`.
        """
        if not _NAME.fullmatch(context.name):
            raise ContextError("The name of a context has letters, digits, `_`, `.` and `-`.")
        kept = replace(context, in_keyring=keyring and _into_keyring(context))
        old = self.known.get(context.name)
        self.known[context.name] = kept
        self.current = context.name
        self._write()
        if old is not None and old.in_keyring and (old.url != kept.url or not kept.in_keyring):
            _out_of_keyring(old)
        return kept

    def remove(self, name: str) -> None:
        """Forget a context and its key."""
        self._check(name)
        old = self.known.pop(name)
        if self.current == name:
            self.current = None
        self._write()
        if old.in_keyring:
            _out_of_keyring(old)

    def _write(self) -> None:
        """Replace the file: a new one, mode 0600, renamed over it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".contexts.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self._text())
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise

    def _text(self) -> str:
        lines = [f"current = {json.dumps(self.current)}"] if self.current else []
        for name, one in sorted(self.known.items()):
            values = {"url": one.url, "key": "" if one.in_keyring else one.key, "ca": one.ca}
            lines += ["", f"[context.{json.dumps(name)}]"]
            lines += ["keyring = true"] if one.in_keyring else []
            # Strings of JSON, kept to ASCII, are basic strings of TOML.
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value]
        return "\n".join(lines) + "\n"


def current_context(name: str | None = None, environ: Mapping[str, str] = os.environ) -> Context:
    """Return the context to use: a named one, that of the environment, or the current one.

    Raises:
        ContextError: there is none, or the environment has half of one. A key of the file is never
            sent to a URL of the environment.
    """
    url, key_file = environ.get("VFOLDER_URL"), environ.get("VFOLDER_KEY_FILE")
    if name is None and key_file:
        if not url:
            raise ContextError("VFOLDER_KEY_FILE is set; set VFOLDER_URL, too.")
        return Context("environment", url, read_key(Path(key_file)), environ.get("VFOLDER_CA"))
    return Contexts(contexts_path(environ)).get(name or environ.get("VFOLDER_CONTEXT"))


def read_key(path: Path) -> str:
    """Return the key that a file has.

    Raises:
        ContextError: it cannot be read, or has no key.
    """
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ContextError(f"{path} cannot be read: {error}") from None
    return check_key(text)


def check_key(text: str) -> str:
    """Return a key or token that a header can carry.

    Raises:
        ContextError: it is empty, or has blanks or other characters that no key has.
    """
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ContextError("This is no key: it is empty, or it has characters that no key has.")
    return text


# -- The keyring of the system ---------------------------------------------------------------------
def _keyring(environ: Mapping[str, str] = os.environ) -> Any:  # noqa: ANN401 - a module that may be absent
    """Return the module `keyring`; None where it is not installed, or the system has no keyring.

    A backend that is no keyring of a system may ask for a password, or keep texts in the clear. So
    it counts only where PYTHON_KEYRING_BACKEND names it.
    """
    try:
        import keyring  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        return None
    if environ.get("PYTHON_KEYRING_BACKEND"):
        return keyring
    chosen = keyring.get_keyring()
    used = list(getattr(chosen, "backends", [])) or [chosen]  # several, one after the other
    ours = all(type(one).__module__.startswith("keyring.backends.") for one in used)
    return keyring if ours and chosen.priority >= 1 else None


def _account(context: Context) -> tuple[str, str]:
    return "vfolder", f"{context.name} {context.url}"


def _into_keyring(context: Context) -> bool:
    """Keep a key; return whether the keyring took it."""
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(*_account(context), context.key)
        kept: bool = keyring.get_password(*_account(context)) == context.key
    except keyring.errors.KeyringError:
        return False
    return kept  # there is a backend that keeps nothing


def _from_keyring(context: Context) -> str:
    """Return a key.

    Raises:
        ContextError: the keyring is not to be had, or does not have it.
    """
    keyring = _keyring()
    if keyring is None:
        raise ContextError(
            f"The key of {context.name} is in a keyring that is not there; {_LOGIN}."
        )
    try:
        found: str | None = keyring.get_password(*_account(context))
    except keyring.errors.KeyringError as error:
        raise ContextError(
            f"The keyring does not give the key of {context.name}: {error}"
        ) from None
    if found is None:
        raise ContextError(f"The keyring has no key of {context.name}; {_LOGIN}.")
    return found


def _out_of_keyring(context: Context) -> None:
    keyring = _keyring()
    if keyring is not None:
        with suppress(keyring.errors.KeyringError):
            keyring.delete_password(*_account(context))

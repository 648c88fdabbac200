"""`Content-Disposition` for any name a file system can hold (RFC 6266, RFC 8187)."""

import re
from urllib.parse import quote

#: RFC 8187 attr-char: what needs no percent-encoding besides letters and digits.
_ATTR_CHARS = "!#$&+-.^_`|~"
#: What a quoted-string fallback shows as `_`: not printable ASCII, or decoded by some clients.
_UNSHOWABLE = re.compile(r"[^\x20-\x7e]|%")
_ESCAPED = re.compile(r'(["\\])')


def attachment(name: str) -> str:
    """The header value that saves a body under `name`.

    `filename*` has the name in full; `filename` is for clients that know no better. Bytes that are
    not UTF-8 (lone surrogates here) become U+FFFD, since the header can carry nothing else.
    """
    name = name or "download"
    plain = _ESCAPED.sub(r"\\\1", _UNSHOWABLE.sub("_", name))
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{_encoded(name)}"


def _encoded(name: str) -> str:
    valid = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return quote(valid, safe=_ATTR_CHARS)

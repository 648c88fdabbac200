"""Text of others on a terminal."""


def printable(text: str) -> str:
    """Return the text with control characters escaped, so that a terminal does not obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

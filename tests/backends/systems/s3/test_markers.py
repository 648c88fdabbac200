"""The content type of a marker says again what its metadata says: some storages keep only it."""

import pytest

from backends.systems.s3.objects import ObjectHead, directory_metadata, directory_type

METADATA = {"mtime": "-1.000000001", "mode": "16877", "uid": "4294967294"}


def marker(content_type: str, **metadata: str) -> ObjectHead:
    return ObjectHead("d/", 0, "", None, content_type, metadata)


def test_what_is_written_is_read() -> None:
    written = directory_type(METADATA)
    assert written == "application/x-directory; mtime=-1.000000001; mode=16877; uid=4294967294"
    assert directory_metadata(marker(written)) == METADATA
    assert directory_type({}) == "application/x-directory"


def test_the_metadata_of_other_programs_comes_first() -> None:
    assert directory_metadata(marker(directory_type(METADATA), mode="16832")) == {"mode": "16832"}


@pytest.mark.parametrize("text", ["", "a b", "a;b", "ü", '"', "a\r\nb"])
def test_only_tokens_become_parameters(text: str) -> None:
    assert directory_type({"x": text, "mode": "1"}) == "application/x-directory; mode=1"


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("", {}),
        ("application/x-directory", {}),
        ("application/x-directory;MODE=16877 ;", {"mode": "16877"}),
        ("httpd/unix-directory; mode=16877", {}),
        ("text/plain; mode=16877", {}),
    ],
)
def test_any_content_type_is_read(content_type: str, said: dict[str, str]) -> None:
    assert directory_metadata(marker(content_type)) == said

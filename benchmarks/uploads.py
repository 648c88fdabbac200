"""Uploads of 512 MiB in pieces against `cp` to the same disk, with sha256 against `sha256sum`."""

import base64
import hashlib
import os
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks._doors import Bench, Case, measure, running, show
from benchmarks._places import options

CHECKED_MIB = 16
ANSWER_BYTES = 64 * 1024
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL}


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=5, mib=512, directory="")
    with running(chosen.directory or None, nginx=False) as bench:
        source = bench.room / "source"
        block = os.urandom(1 << 20)
        with source.open("wb") as file:
            for _ in range(chosen.mib):
                file.write(block)
        for streams in (1, 4):
            cases = [
                Case("cp, then sync", lambda n=streams: _copy(bench, source, n)),
                *(
                    Case(
                        f"PATCH of {piece} MiB",
                        lambda n=streams, p=piece: _upload(bench, source, n, p << 20),
                        bench.door,
                    )
                    for piece in (4, 16)
                ),
            ]
            measure(cases, chosen.rounds)
            show(f"{streams} at once", cases, chosen.mib * streams, "MiB")
        digests = _digests(source, CHECKED_MIB << 20)
        cases = [
            Case("sha256sum", lambda: subprocess.run(["sha256sum", source], check=True, **QUIET)),
            Case(
                f"PATCH of {CHECKED_MIB} MiB, sha256",
                lambda: _upload(bench, source, 1, CHECKED_MIB << 20, digests),
                bench.door,
            ),
        ]
        measure(cases, chosen.rounds)
        show("checked", cases, chosen.mib, "MiB")


def _digests(source: Path, piece: int) -> list[str]:
    """The checksum of every piece, as a client sends it."""
    with source.open("rb") as file:
        pieces = iter(lambda: file.read(piece), b"")
        found = [base64.b64encode(hashlib.sha256(data).digest()).decode() for data in pieces]
    return [f"sha256 {digest}" for digest in found]


def _copy(bench: Bench, source: Path, streams: int) -> None:
    """What an upload promises when it answers: every copy is on the disk."""
    copies = [str(bench.room / f"copy{number}") for number in range(streams)]
    running_ = [subprocess.Popen(["cp", source, copy]) for copy in copies]
    for process in running_:
        process.wait()
    subprocess.run(["sync", *copies], check=True)
    for copy in copies:
        os.unlink(copy)


def _upload(
    bench: Bench, source: Path, streams: int, piece: int, digests: list[str] | None = None
) -> None:
    children = []
    for number in range(streams):
        url = bench.upload(f"up{number}", source.stat().st_size)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _send(url, source, piece, digests)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    for child in children:
        if os.waitpid(child, 0)[1]:
            raise SystemExit("an upload failed")
    for number in range(streams):
        if (bench.files / f"up{number}").stat().st_size != source.stat().st_size:
            raise SystemExit("an upload has another size")
        os.unlink(bench.files / f"up{number}")


def _send(url: str, source: Path, piece: int, digests: list[str] | None) -> None:
    """A minimal client: one connection, sendfile(2), and the status of each answer."""
    at = urlsplit(url)
    size = source.stat().st_size
    with source.open("rb") as file, socket.create_connection((at.hostname, at.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for offset in range(0, size, piece):
            length = min(piece, size - offset)
            words = [
                f"PATCH {at.path}?{at.query} HTTP/1.1",
                f"Host: {at.netloc}",
                f"Upload-Offset: {offset}",
                f"Content-Length: {length}",
                *([f"Upload-Checksum: {digests[offset // piece]}"] if digests else ()),
            ]
            client.sendall("\r\n".join([*words, "", ""]).encode("ascii"))
            sent = 0
            while sent < length:
                sent += os.sendfile(client.fileno(), file.fileno(), offset + sent, length - sent)
            _check(client)


def _check(client: socket.socket) -> None:
    """The answer, which has no body: 204 and its headers to the end."""
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        more = client.recv(ANSWER_BYTES)
        if not more:
            raise SystemExit(f"the door closed the connection after {answer!r}")
        answer += more
    if not answer.startswith(b"HTTP/1.1 204 "):
        raise SystemExit(f"the door answered {answer!r}")

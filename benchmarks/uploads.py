"""Uploads of 512 MiB in pieces against `cp` of the same file to the same disk."""

import http.client
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks._doors import Bench, Case, measure, running, show
from benchmarks._places import options


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


def _copy(bench: Bench, source: Path, streams: int) -> None:
    """What an upload promises when it answers: every copy is on the disk."""
    copies = [str(bench.room / f"copy{number}") for number in range(streams)]
    running_ = [subprocess.Popen(["cp", source, copy]) for copy in copies]
    for process in running_:
        process.wait()
    subprocess.run(["sync", *copies], check=True)
    for copy in copies:
        os.unlink(copy)


def _upload(bench: Bench, source: Path, streams: int, piece: int) -> None:
    children = []
    for number in range(streams):
        url = bench.upload(f"up{number}", source.stat().st_size)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _send(url, source, piece)
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


def _send(url: str, source: Path, piece: int) -> None:
    at = urlsplit(url)
    client = http.client.HTTPConnection(at.hostname or "", at.port)
    size = source.stat().st_size
    with source.open("rb") as file:
        for offset in range(0, size, piece):
            client.putrequest("PATCH", f"{at.path}?{at.query}")
            client.putheader("Upload-Offset", str(offset))
            client.putheader("Content-Length", str(min(piece, size - offset)))
            client.endheaders()
            client.sock.sendfile(file, offset, min(piece, size - offset))
            answer = client.getresponse()
            answer.read()
            if answer.status != http.client.NO_CONTENT:
                raise SystemExit(f"status {answer.status}")

"""A volume in a bucket, served by doors and a worker: journeys of users from door to bucket."""

import io
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import psutil
import pytest
import requests

from deploy.demo.show import DemoFailed
from tests.stack.s3_site import (
    MIB,
    VOLUME,
    Site,
    beside,
    directories,
    filled,
    keys_of,
    kill,
    mounted,
    scope_bytes,
    site,
)
from tests.support import trees
from tests.support.node import wait_for
from tests.support.object_storage import (
    ACCESS_KEY,
    SECRET_KEY,
    Fault,
    Seen,
)
from tests.support.thoroughness import times

__all__ = ["site"]
pytestmark = pytest.mark.part("seaweedfs")

#: Files of the round trip, and how often its worker is killed on each way.
MANY_FILES = int(os.environ.get("TRIP_FILES", times(150, 500)))
KILLS = int(os.environ.get("TRIP_KILLS", "1"))
SIZES = [0, 1, 5 * MIB, 5 * MIB + 1, 17 * MIB]


def test_files_go_up_and_come_down(site: Site) -> None:
    vfolder = site.vfolder()
    for size in SIZES:
        data = os.urandom(size)
        site.upload(vfolder, f"d/{size}", data)
        answer = site.download(vfolder, f"d/{size}")
        assert answer.content == data
        assert answer.headers["Content-Length"] == str(size)
    assert site.names(vfolder, "d") == sorted((str(n), "FILE", n) for n in SIZES)
    site.upload(vfolder, "d/1", b"another")
    assert site.download(vfolder, "d/1").content == b"another"
    answer = site.download(vfolder, "d/1", headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"oth")
    same = {"If-None-Match": answer.headers["ETag"]}
    assert site.download(vfolder, "d/1", headers=same).status_code == 304
    answer = site.download(vfolder, "d/1", method="HEAD")
    assert (answer.headers["Content-Length"], answer.content) == ("7", b"")
    assert site.download(vfolder, "d/none").status_code == 404
    fetched = site.doors._session.post(
        f"{site.doors._manager}/folder/file/fetch",
        json={"volume": VOLUME, "vfid": vfolder, "relpath": "d/1"},
        timeout=60,
    )
    assert fetched.content == b"another"


def test_downloads_are_redirected_to_an_endpoint_for_clients(site: Site) -> None:
    vfolder = site.vfolder("redirected")
    site.bucket.put(f"redirected/{site.prefix_of(vfolder, 'redirected')}ü f", b"content")
    token = site.doors.call(
        "POST", "/folder/file/download", volume="redirected", vfid=vfolder, relpath="ü f"
    )["token"]

    def asked(method: str, **more: Any) -> requests.Response:
        url = f"{site.doors._client}/download"
        return site.doors._users.request(method, url, params={"token": token}, timeout=60, **more)

    answer = asked("GET", allow_redirects=False)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (307, "no-store")
    assert SECRET_KEY not in answer.headers["Location"]
    assert "X-Amz-Expires=300" in answer.headers["Location"]
    seen = len(site.proxy.seen)  # the node's own proofs of its volumes come by here, too
    answer = requests.get(answer.headers["Location"], headers={"Range": "bytes=3-"}, timeout=60)
    assert answer.content == b"tent"
    assert "filename*=UTF-8''%C3%BC%20f" in answer.headers["Content-Disposition"]
    assert not [one for one in site.proxy.seen[seen:] if "%20f" in one.target]
    assert asked("HEAD").headers["Content-Length"] == "7"


def test_entries_are_managed(site: Site) -> None:
    vfolder = site.vfolder()
    site.call("POST", "/folder/file/mkdir", vfid=vfolder, relpath="a/b", parents=True)
    site.upload(vfolder, "a/f", b"12345")
    site.call("POST", "/folder/file/rename", vfid=vfolder, relpath="a/f", new_name="g")
    site.call("POST", "/folder/file/move", vfid=vfolder, src_relpath="a/g", dst_relpath="a/b")
    assert site.names(vfolder, "a/b") == [("g", "FILE", 5)]
    usage = site.call("GET", "/folder/usage", vfid=vfolder)
    assert (usage["file_count"], usage["used_bytes"]) == (3, 5)
    site.call("POST", "/folder/file/delete", vfid=vfolder, relpaths=["a"], recursive=True)
    assert site.names(vfolder) == []


def test_jobs_do_their_work(site: Site) -> None:
    before = site.objects()
    vfolder = site.vfolder()
    for number in range(3):
        site.upload(vfolder, f"d{number}/f", b"x" * number)
    counted = site.job(verb="usage", vfolder=vfolder)
    assert counted["state"] == "succeeded", counted
    assert counted["result"]["files"] == 3
    assert counted["result"]["directories"] == 3
    target = f"{vfolder.partition('/')[0]}/{uuid4().hex}"
    cloned = site.job(verb="clone", source=vfolder, target=target, verify="checksum")
    assert cloned["state"] == "succeeded", cloned
    assert site.names(target) == site.names(vfolder)
    assert site.download(target, "d2/f").content == b"xx"
    scanned = site.job(verb="rescan", repair=True)
    assert scanned["state"] == "succeeded", scanned
    assert scanned["result"]["size_bytes"] >= 6
    removed = site.job(verb="delete-files", vfolder=target, paths=["d1", "none"], recursive=True)
    assert removed["state"] == "succeeded", removed
    assert [name for name, *_ in site.names(target)] == ["d0", "d2"]
    kept = site.job(verb="delete", vfolder=vfolder, keep_seconds=3600)
    assert kept["state"] == "succeeded", kept
    assert kept["result"]["trash"]["size_bytes"] == 3, kept
    assert site.job(verb="restore", vfolder=vfolder)["state"] == "succeeded"
    assert [name for name, *_ in site.names(vfolder)] == ["d0", "d1", "d2"]
    for one, number in ((vfolder, 3), (target, 2)):
        ended = site.job(verb="delete", vfolder=one, keep_seconds=0)
        assert ended["state"] == "succeeded", ended
        purged = {phase["name"]: phase for phase in ended["progress"]["phases"]}["purge"]
        assert purged["items"]["deleted"] > number, purged
    assert site.objects() == before


def test_what_a_bucket_cannot_do_is_refused_by_name(site: Site) -> None:
    vfolder = site.vfolder()
    site.upload(vfolder, "d/f", b"1")
    problem = site.refused("GET", "/folder/mount", vfid=vfolder)
    assert "mount" in problem["detail"]
    archive = site.download(vfolder, "d", query={"archive": "true"})
    assert archive.status_code == 400
    assert "archive" in archive.json()["detail"]
    body = {"source": site.vfolder("local"), "target": vfolder, "target_path": "x"}
    move = {"verb": "transfer", "volume": "local", "target_volume": VOLUME, "remove_source": True}
    assert "no job moves" in site.refused("POST", "/v1/jobs", **body, **move)["detail"]
    listed = {one["name"]: one for one in site.doors.call("GET", "/volumes")["volumes"]}
    assert listed[VOLUME]["capabilities"] == ["vfolder"]


def test_limits_hold(site: Site) -> None:
    vfolder = site.vfolder()
    scope = vfolder.partition("/")[0]
    site.upload(vfolder, "f", b"12345678")
    site.call("PATCH", "/quota-scope", qsid=scope, options={"limit_bytes": 10})

    def used() -> int:
        found = site.call("GET", "/quota-scope", qsid=scope)
        assert (found["limit_bytes"], found["enforced"]) == (10, "soft")
        size: int = found["used_bytes"]
        return size

    assert used() == 8
    with pytest.raises(DemoFailed, match="quota"):
        site.upload(vfolder, "g", b"123")
    site.upload(vfolder, "f", b"123456789")
    assert used() == 9
    cloned = site.job(verb="clone", source=vfolder, target=f"{scope}/{uuid4().hex}")
    assert cloned["state"] == "failed"
    assert "bytes left" in cloned["error"]["detail"]
    site.upload(vfolder, "d/g", b"1")
    site.call("POST", "/folder/file/delete", vfid=vfolder, relpaths=["f"], recursive=True)
    assert used() == 1
    target = f"{scope}/{uuid4().hex}"
    assert site.job(verb="clone", source=vfolder, target=target)["state"] == "succeeded"
    assert used() == 2
    site.job(verb="delete-files", vfolder=target, paths=["d"], recursive=True)
    assert used() == 1
    site.job(verb="delete", vfolder=vfolder, keep_seconds=0)
    assert used() == 0


def test_a_clone_survives_the_death_of_its_worker(site: Site) -> None:
    """The storage is overloaded while the clone is under way; then its worker is killed."""
    vfolder = site.vfolder()
    for number in range(20):
        site.bucket.put(f"volume/{site.prefix_of(vfolder)}d/{number}", b"x" * number)
    target = f"{vfolder.partition('/')[0]}/{uuid4().hex}"
    busy = Fault(
        "PUT",
        f"{keys_of(target)}d/1[0-9]$",
        10**9,
        status=503,
        code="SlowDown",
    )
    site.proxy.faults = [busy]
    job = site.call("POST", "/v1/jobs", verb="clone", source=vfolder, target=target)["id"]
    wait_for(lambda: busy.hits, 60)
    site.kill_worker()
    site.proxy.faults = []
    ended = site.end(job)
    assert ended["state"] == "succeeded", ended
    assert ended["attempt"] > 1
    assert site.names(target, "d") == site.names(vfolder, "d")


#: Paths that are odd, or of which no object can be, as JSON clients can send them.
PATHS = [
    *("", ".", "a", "a/", "a/b", "none", "none/x", "a//b", "../x", "/etc/passwd", "./a"),
    *(
        "c\x01d",
        "nul\0",
        "a\r\n",
        "\udc80",
        "k" * 256,
        "/".join(["k" * 200] * 6),
        "*",
        " ",
        "ü?%20",
    ),
]


@pytest.mark.parametrize("path", PATHS)
def test_no_route_fails_on_a_path(site: Site, path: str) -> None:
    """What a bucket cannot do is refused; 5xx is for a storage that fails."""
    vfolder = site.vfolder()
    site.upload(vfolder, "a", b"1")
    site.bucket.put(f"volume/{site.prefix_of(vfolder)}a/b", b"2")
    answers = {}
    for method, route, body in [
        ("POST", "/folder/file/list", {"relpath": path}),
        ("POST", "/folder/file/list", {"relpath": "a", "limit": 1, "cursor": path}),
        ("POST", "/folder/file/mkdir", {"relpath": path, "parents": True, "exist_ok": True}),
        ("POST", "/folder/file/mkdir", {"relpath": path, "parents": False}),
        ("POST", "/folder/file/rename", {"relpath": path, "new_name": "n"}),
        ("POST", "/folder/file/rename", {"relpath": "a", "new_name": path}),
        ("POST", "/folder/file/move", {"src_relpath": path, "dst_relpath": "m"}),
        ("POST", "/folder/file/move", {"src_relpath": "a", "dst_relpath": path}),
        ("POST", "/folder/file/fetch", {"relpath": path}),
        ("POST", "/folder/file/upload", {"relpath": path, "size": 1}),
        ("POST", "/folder/file/upload", {"relpath": path, "size": 0}),
        ("POST", "/folder/file/download", {"relpath": path}),
        ("POST", "/folder/file/download", {"relpath": path, "archive": True}),
        ("POST", "/folder/file/delete", {"relpaths": [path], "recursive": False}),
        ("POST", "/folder/file/delete", {"relpaths": [path], "recursive": True}),
    ]:
        answer = site.doors._session.request(
            method,
            site.doors._manager + route,
            data=json.dumps({"volume": VOLUME, "vfid": vfolder, **body}),
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        answers[f"{method} {route} {body}"] = (answer.status_code, answer.text[:300])
        if answer.ok and "token" in answer.text and "load" in route:
            token = answer.json()["token"]
            query = {"token": token, **({"archive": "true"} if body.get("archive") else {})}
            if route.endswith("upload"):
                headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
                headers["Content-Type"] = "application/offset+octet-stream"
                url = f"{site.doors._client}/upload"
                got = site.doors._users.patch(
                    url, params=query, headers=headers, data=b"1", timeout=60
                )
            else:
                url = f"{site.doors._client}/download"
                got = site.doors._users.get(url, params=query, timeout=60)
            answers[f"client {route} {body}"] = (got.status_code, got.text[:300])
    assert not {one: found for one, found in answers.items() if found[0] >= 500}


# -- Transfers -------------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", ["transfer", "clone"])
def test_a_tree_is_equal_after_its_way_to_a_bucket_and_back(site: Site, verb: str) -> None:
    vfolder, top = filled(site)
    there, back = beside(vfolder), beside(vfolder)
    sent = site.job(
        verb=verb,
        volume="local",
        source=vfolder,
        target=there,
        target_volume=VOLUME,
        verify="checksum",
    )
    assert sent["state"] == "succeeded", sent
    assert (sent["result"]["files"], sent["result"]["links"]) == (6, 2)
    assert [name for name, *_ in site.names(there)] == ["a", "away", "empty"]
    got = site.job(verb=verb, source=there, target=back, target_volume="local", verify="checksum")
    assert got["state"] == "succeeded", got
    assert trees.attributes(mounted(site, back)) == trees.attributes(top)
    assert directories(mounted(site, back)) == directories(top)
    site.job(verb="delete", vfolder=there, keep_seconds=0)


def test_directories_keep_their_attributes_from_bucket_to_bucket(site: Site) -> None:
    """By a clone within the volume, then by a transfer of a path to a path in another vfolder."""
    vfolder, top = filled(site)
    there, cloned, back = beside(vfolder), beside(vfolder), beside(vfolder)
    sent = {"volume": "local", "source": vfolder, "target": there, "target_volume": VOLUME}
    for body in (
        {"verb": "transfer", **sent},
        {"verb": "clone", "source": there, "target": cloned},
        {"verb": "transfer", "source": cloned, "target": cloned, "source_path": "a"}
        | {"target_path": "copy"},
        {"verb": "transfer", "source": cloned, "target": back, "target_volume": "local"},
    ):
        ended = site.job(**body)
        assert ended["state"] == "succeeded", ended
    found = directories(mounted(site, back))
    assert (found.pop("copy"), found.pop("copy/b")) == (found["a"], found["a/b"])
    assert found == directories(top)


def test_a_marker_that_the_storage_loses_is_written_again(site: Site) -> None:
    """As SeaweedFS does where a file and the marker above it come at the same moment."""
    vfolder, top = filled(site)
    there, back = beside(vfolder), beside(vfolder)
    file = re.compile(f"{keys_of(there)}a/b/x.log$")
    lost: list[str] = []

    def lose(seen: Seen) -> str:
        if seen.method == "PUT" and file.search(seen.target) and not lost:
            key = unquote(seen.target).partition(f"{site.bucket.name}/")[2].removesuffix("x.log")
            wait_for(lambda: (found := site.bucket.find(key)) and "mode=" in found.content_type)
            site.bucket.put(key, b"", content_type="application/x-directory")
            lost.append(key)
        return ""

    site.proxy.strict = lose
    sent = {"volume": "local", "source": vfolder, "target": there, "target_volume": VOLUME}
    ended = site.job(verb="transfer", **sent)
    site.proxy.strict = None
    assert (ended["state"], len(lost)) == ("succeeded", 1), ended
    got = site.job(verb="transfer", source=there, target=back, target_volume="local")
    assert got["state"] == "succeeded", got
    assert directories(mounted(site, back)) == directories(top)


@pytest.mark.part("rclone")
def test_rclone_reads_what_we_wrote_and_we_what_it_wrote(site: Site, tmp_path: Path) -> None:
    """Content, modes and times of files, by the metadata of their objects.

    rclone reads modes as octal numbers only; ours are decimal, as those of s3fs.
    """
    vfolder, top = site.vfolder("local"), tmp_path / "top"
    fill_plainly(top)
    shutil.copytree(top, mounted(site, vfolder), dirs_exist_ok=True)
    there, back = beside(vfolder), beside(vfolder)
    body = {"verb": "transfer", "volume": "local", "source": vfolder}
    sent = site.job(**body, target=there, target_volume=VOLUME)
    assert sent["state"] == "succeeded", sent
    prefix = f"{site.bucket.name}/volume/{site.prefix_of(there)}"
    rclone(site, f"{prefix}", str(tmp_path / "got"))
    without_modes = [
        {n: (f[0], f[2]) for n, f in plain(d).items()} for d in (tmp_path / "got", top)
    ]
    assert without_modes[0] == without_modes[1]

    other = site.vfolder()
    rclone(site, str(top), f"{site.bucket.name}/volume/{site.prefix_of(other)}", up=True)
    got = site.job(verb="transfer", source=other, target=back, target_volume="local")
    assert got["state"] == "succeeded", got
    assert plain(mounted(site, back)) == plain(top)
    assert [name for name, *_ in site.names(other, "a")] == ["b", "ü 0"]


def fill_plainly(top: Path) -> None:
    """Files of a few sizes, with modes and times; one is sent in parts by both."""
    (top / "a/b").mkdir(parents=True)
    for number, (name, size) in enumerate({"a/ü 0": 0, "a/b/1": 1, "big": 17 * MIB}.items()):
        (top / name).write_bytes(os.urandom(size))
        (top / name).chmod(0o640 + number)
        os.utime(top / name, ns=(1, 1_700_000_000_123_456_789 + number))


def plain(top: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, mode and time of each file."""
    files = [path for path in top.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(top)): (
            path.read_bytes(),
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in files
    }


def rclone(site: Site, source: str, target: str, *, up: bool = False) -> None:
    """Copy by rclone with what it knows of metadata, from the bucket or to it."""
    remote = f":s3,provider=Other,env_auth,endpoint='http://127.0.0.1:{site.proxy.target_port}':"
    sides = [source, remote + target] if up else [remote + source, target]
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    environment = {"PATH": os.environ["PATH"], "AWS_REGION": "us-east-1", **keys}
    command = ["rclone", "--config=", "copy", "--metadata", "--s3-no-check-bucket", *sides]
    done = subprocess.run(
        command, env=environment, capture_output=True, check=False, timeout=120, text=True
    )
    assert done.returncode == 0, done.stderr


def test_rules_select_what_is_copied(site: Site) -> None:
    vfolder, _ = filled(site)
    there, back = beside(vfolder), beside(vfolder)
    rules = {"filters": ["- *.log", "- /empty/"], "max_bytes": 5 * MIB}
    sent = site.job(
        verb="transfer", volume="local", source=vfolder, target=there, target_volume=VOLUME, **rules
    )
    assert sent["state"] == "succeeded", sent
    assert [name for name, *_ in site.names(there)] == ["a", "away"]
    assert [size for *_, size in site.names(there, "a")] == [0, 0, 1, 5 * MIB]
    assert site.names(there, "a/b") == [("link", "FILE", 11)]
    got = site.job(
        verb="transfer",
        source=there,
        source_path="a",
        target=back,
        target_volume="local",
        filters=["- b/"],
    )
    assert got["state"] == "succeeded", got
    assert sorted(os.listdir(mounted(site, back))) == [f"ü {n}.bin" for n in range(3)]


def test_objects_are_laid_over_files(site: Site) -> None:
    vfolder, target = site.vfolder(), site.vfolder("local")
    site.upload(vfolder, "d/new", b"new")
    site.upload(vfolder, "d/both", b"from the bucket")
    top = mounted(site, target)
    (top / "d").mkdir()
    (top / "d/both").write_bytes(b"old")
    (top / "d/only").write_bytes(b"only here")
    top.chmod(0o2770)
    (top / "d").chmod(0o700)
    body = {"verb": "transfer", "source": vfolder, "target": target, "target_volume": "local"}
    refused = site.job(**body)
    assert refused["state"] == "failed", refused
    assert (top / "d/both").read_bytes() == b"old"
    laid = site.job(**body, on_conflict="replace")
    assert laid["state"] == "succeeded", laid
    assert (top / "d/both").read_bytes() == b"from the bucket"
    assert sorted(os.listdir(top / "d")) == ["both", "new", "only"]
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (top, top / "d")]
    assert modes == [0o2770, 0o700]  # the bucket does not say others
    mirrored = site.job(**body, on_conflict="replace", delete_extra=True)
    assert mirrored["state"] == "succeeded", mirrored
    assert sorted(os.listdir(top / "d")) == ["both", "new"]
    one = site.job(**body, source_path="d/new", target_path="d/renamed")
    assert one["state"] == "succeeded", one
    assert (top / "d/renamed").read_bytes() == b"new"


def test_a_target_of_objects_is_new(site: Site) -> None:
    vfolder, _ = filled(site)
    target = site.vfolder()
    site.upload(target, "here/f", b"1")
    body = {
        "verb": "transfer",
        "volume": "local",
        "source": vfolder,
        "target": target,
        "target_volume": VOLUME,
    }
    for path in ("", "here"):
        ended = site.job(**body, target_path=path)
        assert ended["state"] == "failed", ended
    assert [name for name, *_ in site.names(target)] == ["here"]
    inside = site.job(**body, target_path="there")
    assert inside["state"] == "succeeded", inside
    assert [name for name, *_ in site.names(target, "there")] == ["a", "away", "empty"]
    copied = site.job(
        verb="transfer", source=target, source_path="there/a", target=target, target_path="again"
    )
    assert copied["state"] == "succeeded", copied["error"]
    assert site.names(target, "again") == site.names(target, "there/a")


def test_an_empty_directory_goes_both_ways(site: Site) -> None:
    """Nothing is copied, and the directory is there."""
    files, objects, back = site.vfolder("local"), site.vfolder(), site.vfolder("local")
    (mounted(site, files) / "none").mkdir(mode=0o711)
    up = {"verb": "transfer", "volume": "local", "source": files, "source_path": "none"}
    up |= {"target": objects, "target_volume": VOLUME, "target_path": "d/there"}
    down = {"verb": "transfer", "source": objects, "source_path": "d/there"}
    down |= {"target": back, "target_volume": "local", "target_path": "d"}
    for body in (up, down):
        ended = site.job(**body)
        assert (ended["state"], ended["result"]["files"]) == ("succeeded", 0), ended
    assert site.names(objects, "d") == [("there", "DIRECTORY", 0)]
    assert site.names(objects, "d/there") == []
    assert os.listdir(mounted(site, back) / "d") == []
    found = [directories(mounted(site, files) / "none"), directories(mounted(site, back) / "d")]
    assert found[0] == found[1]
    (mounted(site, files) / "none/f").write_bytes(b"1")
    unmatched = site.job(**up | {"target_path": "other", "filters": ["- *"]})
    assert unmatched["state"] == "partial", unmatched
    assert "no entry of the source matches" in unmatched["result"]["sentence"]


def test_files_are_laid_over_objects(site: Site) -> None:
    """Each file by itself; the limit of the scope pays the difference."""
    vfolder, target = site.vfolder("local"), site.vfolder()
    for name in ("both", "only", "file"):
        site.upload(target, f"d/{name}", b"old" * 10)
    scope = target.partition("/")[0]
    site.call("PATCH", "/quota-scope", qsid=scope, options={"limit_bytes": 10_000})
    top = mounted(site, vfolder)
    (top / "d/new").mkdir(parents=True)
    (top / "d/both").write_bytes(b"from files")
    (top / "d/new/f").write_bytes(b"new")
    body = {"verb": "transfer", "volume": "local", "source": vfolder}
    body |= {"target": target, "target_volume": VOLUME}
    assert site.job(**body)["state"] == "failed"
    before = scope_bytes(site, target)

    skipped = site.job(**body, on_conflict="skip")
    assert skipped["state"] == "succeeded", skipped
    assert (skipped["result"]["files"], skipped["result"]["kept"]) == (1, 1)
    assert site.download(target, "d/both").content == b"old" * 10
    os.utime(top / "d/both", (1, 1))
    older = site.job(**body, on_conflict="newer")
    assert (older["result"]["kept"], older["result"]["same"]) == (1, 3), older
    assert older["state"] == "partial", older  # it transferred nothing
    laid = site.job(**body, on_conflict="replace", verify="checksum")
    assert laid["state"] == "succeeded", laid
    assert (laid["result"]["files"], laid["result"]["replaced_bytes"]) == (1, 30)
    assert site.download(target, "d/both").content == b"from files"
    assert [name for name, *_ in site.names(target, "d")] == ["both", "file", "new", "only"]
    assert scope_bytes(site, target) - before == len(b"new") + len(b"from files") - 30

    again = site.job(**body, on_conflict="replace")
    assert (again["state"], again["result"]["same"]) == ("succeeded", 4), again
    (top / "d/file").mkdir()
    refused = site.job(**body, on_conflict="replace")
    assert refused["state"] == "failed", refused
    assert "is a file" in str(refused["error"]["data"])
    assert site.download(target, "d/file").content == b"old" * 10


def test_a_file_may_be_sent_before_its_directory(site: Site) -> None:
    """It comes while the transfer looks whether the name of the directory is free."""
    vfolder, target = site.vfolder("local"), site.vfolder()
    (mounted(site, vfolder) / "new").mkdir()
    site.upload(target, "old", b"1")
    name = re.compile(f"{keys_of(target)}new$")
    looks: list[Seen] = []

    def send_below(seen: Seen) -> str:
        if seen.method == "HEAD" and name.search(seen.target):
            looks.append(seen)
            if len(looks) == 2:  # the first one asks whether it is a directory
                site.bucket.put(f"volume/{site.prefix_of(target)}new/f", b"below")
        return ""

    site.proxy.strict = send_below
    body = {"source": vfolder, "target": target, "target_volume": VOLUME, "volume": "local"}
    ended = site.job(verb="transfer", on_conflict="skip", **body)
    site.proxy.strict = None
    assert len(looks) >= 2
    assert ended["state"] == "succeeded", ended
    assert site.names(target, "new") == [("f", "FILE", 5)]


def test_an_overlay_that_is_killed_and_cancelled_removes_nothing(site: Site) -> None:
    vfolder, target = site.vfolder("local"), site.vfolder()
    for name in ("a", "only"):
        site.upload(target, name, b"old")
    for name in ("a", "b"):
        (mounted(site, vfolder) / name).write_bytes(b"new bytes")
    busy = Fault("PUT", f"{keys_of(target)}b$", 10**9, status=503, code="SlowDown")
    site.proxy.faults = [busy]
    body = {"source": vfolder, "target": target, "target_volume": VOLUME, "volume": "local"}
    job = site.doors.call("POST", "/v1/jobs", verb="transfer", on_conflict="replace", **body)["id"]
    wait_for(lambda: busy.hits and site.download(target, "a").content == b"new bytes", 60)
    site.kill_worker()
    hits = busy.hits
    wait_for(lambda: busy.hits > hits, 60)
    site.doors.call("POST", f"/v1/jobs/{job}/cancel")
    assert site.end(job)["state"] == "cancelled"
    site.proxy.faults = []
    assert site.names(target) == [("a", "FILE", 9), ("only", "FILE", 3)]


def test_one_file_becomes_one_object(site: Site) -> None:
    vfolder, top = filled(site)
    target, other = site.vfolder(), site.vfolder()
    scope, body = target.partition("/")[0], {"verb": "transfer", "target": target}
    site.call("PATCH", "/quota-scope", qsid=scope, options={"limit_bytes": 20 * MIB})
    up = {**body, "volume": "local", "source": vfolder, "target_volume": VOLUME}

    def ended(**more: Any) -> tuple[str, str]:
        found = site.job(**{**up, **more})
        return found["state"], str((found["error"] or {}).get("title", ""))

    assert ended(source_path="a/ü 1.bin") == ("succeeded", "")
    assert ended(source_path="a/ü 4.bin", target_path="d/big")[0] == "succeeded"
    assert ended(source_path="a/b/link", target_path="d/link")[0] == "succeeded"
    assert site.names(target) == [("d", "DIRECTORY", 0), ("ü 1.bin", "FILE", 1)]
    assert site.names(target, "d") == [("big", "FILE", 17 * MIB), ("link", "FILE", 11)]
    for path in ("d/big", "d", "d/big/below"):
        assert ended(source_path="a/ü 0.bin", target_path=path)[0] == "failed"
    kept = {"source_path": "a/ü 0.bin", "target_path": "d/big"}
    assert ended(**kept, on_conflict="skip")[0] == "partial"
    assert ended(source_path="none", target_path="x")[0] == "failed"
    assert site.names(target, "d")[0] == ("big", "FILE", 17 * MIB)
    assert ended(**kept, on_conflict="replace", verify="checksum")[0] == "succeeded"
    assert site.names(target, "d")[0] == ("big", "FILE", 0)
    assert site.call("GET", "/quota-scope", qsid=scope)["used_bytes"] == 1 + 11
    copied = site.job(verb="transfer", source=target, source_path="d/link", target=other)
    assert copied["state"] == "succeeded", copied
    back = site.job(
        verb="transfer",
        source=other,
        source_path="link",
        target=vfolder,
        target_path="again",
        target_volume="local",
    )
    assert back["state"] == "succeeded", back
    assert os.readlink(top / "again") == os.readlink(top / "a/b/link")


@pytest.mark.parametrize("way", ["to", "from"])
def test_a_transfer_survives_the_death_of_its_worker(site: Site, way: str) -> None:
    vfolder, top = filled(site)
    there, back = beside(vfolder), beside(vfolder)
    sent = {"volume": "local", "source": vfolder, "target": there, "target_volume": VOLUME}
    got = {"source": there, "target": back, "target_volume": "local"}
    busy = Fault("PUT", f"{keys_of(there)}a/", 10**9, status=503, code="SlowDown")
    if way == "from":
        assert site.job(verb="transfer", **sent)["state"] == "succeeded"
        busy = Fault("GET", f"{keys_of(there)}a/.*4.bin", 10**9, status=503, code="SlowDown")
    site.proxy.faults = [busy]
    body = {"volume": VOLUME, **(sent if way == "to" else got)}
    job = site.doors.call("POST", "/v1/jobs", verb="transfer", **body)["id"]
    wait_for(lambda: busy.hits, 60)
    site.kill_worker()
    site.proxy.faults = []
    ended = site.end(job)
    assert ended["state"] == "succeeded", ended
    assert ended["attempt"] > 1
    if way == "to":
        assert site.job(verb="transfer", **got)["state"] == "succeeded"
    assert trees.attributes(mounted(site, back)) == trees.attributes(top)


#: Bytes of a file of four parts, and of four ranges.
BIG = 48 * MIB + 1


def test_a_big_file_is_sent_on_at_its_last_part(site: Site) -> None:
    """The parts that the storage has are not sent again after the death of the worker."""
    vfolder = site.vfolder("local")
    (mounted(site, vfolder) / "big").write_bytes(os.urandom(MIB) * 48 + b"1")
    there = beside(vfolder)
    busy = Fault("PUT", "partNumber=4(&|$)", 10**9, status=503, code="SlowDown")
    site.proxy.faults, site.proxy.seen = [busy], []
    body = {"volume": "local", "source": vfolder, "target": there, "target_volume": VOLUME}
    job = site.doors.call("POST", "/v1/jobs", verb="transfer", verify="checksum", **body)["id"]

    def sent() -> bool:
        found = site.unfinished(there)
        return bool(busy.hits) and len(found) == 1 and len(list(found[0].parts())) == 3

    wait_for(sent, 60)
    site.kill_worker()
    site.proxy.faults = []
    ended = site.end(job)
    assert (ended["state"], ended["attempt"] > 1) == ("succeeded", True), ended
    assert site.proxy.count("PUT", "partNumber=[123](&|$)") == 3
    assert not site.unfinished(there)


def test_an_upload_sends_its_parts_while_it_comes(site: Site) -> None:
    """The last answer waits for what is left, also after the death of the door."""
    vfolder, data = site.vfolder(), os.urandom(MIB) * 36 + b"1"
    body = {"vfid": vfolder, "relpath": "big", "size": len(data)}
    token = site.call("POST", "/folder/file/upload", **body)["token"]
    site.proxy.seen.clear()

    def send(start: int, end: int) -> requests.Response:
        return site.doors._users.patch(
            f"{site.doors._client}/upload",
            params={"token": token},
            headers={"Upload-Offset": str(start), "Content-Type": "application/octet-stream"},
            data=data[start:end],
            timeout=60,
        )

    assert send(0, 20 * MIB).status_code == 204
    assert site.proxy.count("PUT", "partNumber=1(&|$)") == 1
    assert site.client is not None
    door = psutil.Process(site.client.process.pid)
    kill([one.pid for one in (door, *door.children())])
    site.start_client_door()
    assert send(20 * MIB, len(data)).status_code == 204
    assert site.download(vfolder, "big").content == data
    assert site.proxy.count("PUT", "partNumber=") == 3
    assert not site.unfinished(vfolder)


def test_a_cancelled_transfer_leaves_no_parts(site: Site) -> None:
    """The storage is overloaded meanwhile, and the job ends at once all the same."""
    vfolder = site.vfolder("local")
    (mounted(site, vfolder) / "big").write_bytes(os.urandom(MIB) * 17)
    there = beside(vfolder)
    busy = Fault("PUT", "partNumber=2(&|$)", 10**9, status=503, code="SlowDown")
    site.proxy.faults = [busy]
    body = {"volume": "local", "source": vfolder, "target": there, "target_volume": VOLUME}
    job = site.doors.call("POST", "/v1/jobs", verb="transfer", **body)["id"]
    wait_for(lambda: busy.hits, 60)
    site.doors.call("POST", f"/v1/jobs/{job}/cancel")
    assert site.end(job)["state"] == "cancelled"
    assert not site.unfinished(there)
    assert busy.hits
    site.proxy.faults = []


def test_a_big_object_is_fetched_on_at_its_last_range(site: Site) -> None:
    vfolder = site.vfolder()
    top = mounted(site, site.vfolder("local"))
    data = os.urandom(MIB) * 48 + b"1"
    site.bucket.upload(f"volume/{site.prefix_of(vfolder)}big", io.BytesIO(data), len(data))
    target = f"{vfolder.partition('/')[0]}/{uuid4().hex}"
    busy = Fault("GET", "big$", 10**9, status=503, code="SlowDown", range=f"bytes={BIG - 1}-")
    site.proxy.faults, site.proxy.seen = [busy], []
    body = {"source": vfolder, "target": target, "target_volume": "local", "verify": "checksum"}
    job = site.doors.call("POST", "/v1/jobs", volume=VOLUME, verb="transfer", **body)["id"]

    def fetched() -> bool:
        notes = top.parents[3].glob(f"*/.vfolder/staging/{job}/drafts/*.done")
        return bool(busy.hits) and [note.read_bytes()[-1:] for note in notes] == [b"\3"]

    wait_for(fetched, 60)
    site.kill_worker()
    site.proxy.faults = []
    ended = site.end(job)
    assert (ended["state"], ended["attempt"] > 1) == ("succeeded", True), ended
    ranges = [one.headers["range"] for one in site.proxy.seen if one.headers.get("range")]
    assert [ranges.count(f"bytes={16 * n * MIB}-{16 * (n + 1) * MIB - 1}") for n in range(3)] == [
        1,
        1,
        1,
    ]
    assert (mounted(site, target) / "big").read_bytes() == data


def test_many_files_survive_deaths_on_both_ways(site: Site) -> None:
    """More of both by hand: TRIP_FILES=20000 TRIP_KILLS=5."""
    vfolder = site.vfolder("local")
    top = mounted(site, vfolder)
    for number in range(MANY_FILES):
        path = top / f"ü {number // 100:04}" / f"{number:06}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(str(number).encode() * (number % 600))
        path.chmod(0o600 + number % 0o100)
        os.utime(path, ns=(1, 1_700_000_000_000_000_001 + number * 1_000_003))
        if number % 50 == 0:
            path.with_suffix(".link").symlink_to(f"../{number}")
    there, back = beside(vfolder), beside(vfolder)
    steps = [MANY_FILES * (kill + 1) // (KILLS + 1) for kill in range(KILLS)]
    for method, body in [
        ("PUT", {"volume": "local", "source": vfolder, "target": there, "target_volume": VOLUME}),
        ("GET", {"volume": VOLUME, "source": there, "target": back, "target_volume": "local"}),
    ]:
        faults = [
            Fault(method, f"{keys_of(there)}.*/{step:06}$", 10**9, status=503, code="SlowDown")
            for step in steps
        ]
        site.proxy.faults = list(faults)
        job = site.doors.call("POST", "/v1/jobs", verb="transfer", **body)["id"]
        for fault in faults:
            wait_for(lambda fault=fault: fault.hits, 600)
            site.kill_worker()
            site.proxy.faults.remove(fault)
        ended = site.end(job)
        assert (ended["state"], ended["attempt"]) == ("succeeded", KILLS + 1), ended
    assert trees.attributes(mounted(site, back)) == trees.attributes(top)
    command = ["rsync", "-ainc", "--delete", f"{top}/", f"{mounted(site, back)}/"]
    same = subprocess.run(command, capture_output=True, text=True, check=True)
    assert same.stdout == ""

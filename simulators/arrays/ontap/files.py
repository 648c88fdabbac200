"""What ONTAP does with the files of a volume: snapshots, analytics, removal of trees."""

import shutil
import subprocess
import time
from datetime import UTC, datetime
from urllib.parse import unquote
from uuid import uuid4

from simulators.arrays.ontap.jobs import JobFailure, OntapJobs, Profile
from simulators.arrays.ontap.lists import Row, listing, refusal
from simulators.serving import Ask, Say
from simulators.shelf import Shelf

#: The directory of snapshots, and how many a volume may have.
SNAPSHOTS, SNAPSHOTS_MAX = ".snapshot", 1023
_SNAPSHOT = {"uuid", "name", "create_time", "comment"}


class OntapFiles(OntapJobs):
    """The files and the snapshots of a volume."""

    def __init__(self, shelf: Shelf, profile: Profile | None = None, seed: int = 0) -> None:
        super().__init__(shelf, profile, seed)
        self.uuid = str(uuid4())
        self.snapshots: dict[str, Row] = {}
        if self.profile.snapshots != "hidden":
            (shelf.top / SNAPSHOTS).mkdir(exist_ok=True)

    # snapshots

    def _list_snapshots(self, ask: Ask, volume: str) -> Say:
        if volume != self.uuid:
            return refusal(404, "917525", "Volume not found.")
        with self.lock:
            rows = sorted(self.snapshots.values(), key=lambda row: str(row["name"]))
        return listing(ask, rows, _SNAPSHOT, {"uuid", "name"}, self.profile.page)

    def _make_snapshot(self, ask: Ask, volume: str) -> Say:
        if volume != self.uuid:
            return refusal(404, "917525", "Volume not found.")
        if set(ask.body) - {"name", "comment", "snapmirror_label", "expiry_time"}:
            return refusal(400, "262185", "Unexpected field.")
        name, comment = ask.body.get("name", ""), ask.body.get("comment", "")
        if not 0 < len(name) <= 255 or not all(c.isalnum() or c in "_-." for c in name):
            return refusal(400, "2", "Invalid name of a snapshot.")
        if len(comment) > 255:
            return refusal(400, "2", "The comment is too long.")
        if self.profile.snapshots == "denied":
            return refusal(403, "6", "not authorized for that command")

        def act() -> None:
            with self.lock:
                if name in self.snapshots:
                    raise JobFailure("1", f'duplicate entry: snapshot "{name}"', 409)
                if len(self.snapshots) >= SNAPSHOTS_MAX:
                    raise JobFailure("524465", "No more snapshots are allowed.", 409)
                made = datetime.now(UTC).replace(microsecond=0).isoformat()
                row = {"uuid": str(uuid4()), "name": name, "create_time": made}
                self.snapshots[name] = row | ({"comment": comment} if comment else {})
                self.effects.append(f"create snapshot {name}")
            if self.profile.snapshots == "shown":
                self.shelf.keep(".", SNAPSHOTS, name)

        return self._later(ask, f"create snapshot {name}", act, 201)

    def _delete_snapshot(self, ask: Ask, volume: str, uuid: str) -> Say:
        known = {row["uuid"]: name for name, row in self.snapshots.items()}
        if volume != self.uuid or uuid not in known:
            return refusal(404, "4", "entry doesn't exist", "uuid")

        def act() -> None:
            with self.lock:
                if self.snapshots.pop(known[uuid], None) is None:
                    raise JobFailure("4", "entry doesn't exist", 404)
                self.effects.append(f"delete snapshot {known[uuid]}")
            if self.profile.snapshots == "shown":
                self.shelf.discard(f"{SNAPSHOTS}/{known[uuid]}")

        return self._later(ask, f"delete snapshot {known[uuid]}", act, 200)

    # files

    def _files(self, _: Ask, volume: str, path: str) -> Say:
        wanted = self.shelf.top / unquote(path)
        if "." in path or volume != self.uuid:
            return refusal(400, "262197", "Escape the path.")
        if not wanted.exists():
            return refusal(404, "6684674", "No such file or directory.")
        if wanted.is_file():
            row = {"path": unquote(path), "type": "file", "size": wanted.stat().st_size}
            return Say(200, {"records": [row], "num_records": 1})
        if self.profile.analytics != "on":
            return Say(200, {"records": [{"path": unquote(path)}], "num_records": 1})
        entries = list(wanted.rglob("*"))
        size = sum(p.lstat().st_size for p in entries if p.is_file() and not p.is_symlink())
        facts = {"bytes_used": size, "file_count": len(entries)}
        facts["subdir_count"] = sum(p.is_dir() for p in entries)
        row = {"analytics": {**facts, "incomplete_data": self.profile.incomplete}}
        return Say(200, {"records": [row], "num_records": 1})

    def _delete_files(self, ask: Ask, volume: str, path: str) -> Say:
        wanted = self.shelf.top / unquote(path)
        if volume != self.uuid or not wanted.exists():
            return refusal(404, "6684674", "No such file or directory.")
        if ask.query.get("recurse") != "true":
            return refusal(400, "6684676", "Directory not empty.")

        def act() -> None:
            time.sleep(self.profile.delete_seconds)
            shutil.rmtree(wanted, ignore_errors=True)  # clients may be at it too
            self.effects.append(f"delete tree {unquote(path)}")

        return self._later(ask, f"delete tree {unquote(path)}", act, 200)

    def _clone_file(self, ask: Ask) -> Say:
        """Clone a file of the volume; its attributes are not those of the source."""
        known = {"volume", "source_path", "destination_path", "overwrite_destination", "autodelete"}
        if extra := set(ask.body) - known:
            return refusal(400, "262185", f"Unexpected field {extra}.")
        if ask.body.get("volume", {}).get("uuid") != self.uuid:
            return refusal(404, "917525", "Volume not found.")
        if "clone" in self.profile.denied:
            return refusal(403, "6", "not authorized for that command")
        if self.profile.style != "flexvol":
            return refusal(400, "3", "The operation is not supported on this volume.")
        paths = [ask.body.get(name, "") for name in ("source_path", "destination_path")]
        if not all(isinstance(path, str) and path for path in paths):
            return refusal(400, "262185", "A path is missing.")
        source, target = (self.shelf.top / path for path in paths)

        def act() -> None:
            if not source.is_file() or source.is_symlink():
                raise JobFailure("6684674", "No such file or directory.", 404)
            if target.exists() and not ask.body.get("overwrite_destination", False):
                raise JobFailure("1", "The destination file exists.", 409)
            if not target.parent.is_dir():
                raise JobFailure("6684674", "No such file or directory.", 404)
            copy = ["cp", "--reflink=auto", "--no-preserve=all", source, target]
            subprocess.run(copy, check=True, capture_output=True)
            self.effects.append(f"clone file {paths[1]}")

        return self._later(ask, f"clone file {paths[1]}", act, 201)

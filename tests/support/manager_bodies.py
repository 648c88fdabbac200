"""A body for every operation that takes one, with placeholders for ids: data for tests."""

from collections.abc import Callable
from typing import Any

VFID = "<vfid>"
QSID = "<qsid>"
#: A vfolder that does not exist.
OTHER = "<other>"
FOLDER = {"volume": "local", "vfid": VFID}
SCOPE = {"volume": "local", "qsid": QSID}

#: Correct bodies; none of these is answered with a 5xx.
RIGHT: dict[tuple[str, str], dict[str, Any]] = {
    ("GET", "/volume/hwinfo"): {"volume": "local"},
    ("GET", "/volume/performance-metric"): {"volume": "local"},
    ("GET", "/volume/quota"): {"volume": "local", "vfid": None},
    ("PATCH", "/volume/quota"): {"volume": "local", "vfid": None, "size_bytes": "1g"},
    ("POST", "/quota-scope"): {**SCOPE, "options": {"limit_bytes": 4096}, "extra_args": {}},
    ("GET", "/quota-scope"): SCOPE,
    ("PATCH", "/quota-scope"): {**SCOPE, "options": {"limit_bytes": "4096"}},
    ("DELETE", "/quota-scope/quota"): SCOPE,
    ("POST", "/folder/create"): {**FOLDER, "mode": 493, "options": {}},
    ("GET", "/folder/mount"): {**FOLDER, "subpath": "dir"},
    ("GET", "/folder/metadata"): FOLDER,
    ("POST", "/folder/metadata"): {**FOLDER, "payload": "aGVsbG8="},
    ("GET", "/folder/fs-usage"): {"volume": "local"},
    ("GET", "/folder/usage"): FOLDER,
    ("GET", "/folder/used-bytes"): FOLDER,
    ("POST", "/folder/delete"): FOLDER,
    ("POST", "/folder/clone"): {
        "src_volume": "local",
        "src_vfid": VFID,
        "dst_volume": None,
        "dst_vfid": OTHER,
    },
    ("POST", "/folder/file/delete-async"): {**FOLDER, "relpaths": ["a.txt"], "recursive": True},
    ("POST", "/folder/file/mkdir"): {
        **FOLDER,
        "relpath": ["made"],
        "parents": True,
        "exist_ok": "yes",
    },
    ("POST", "/folder/file/list"): {**FOLDER, "relpath": ".", "limit": 10, "cursor": "a"},
    ("POST", "/folder/file/rename"): {
        **FOLDER,
        "relpath": "a.txt",
        "new_name": "z.txt",
        "is_dir": False,
    },
    ("POST", "/folder/file/move"): {**FOLDER, "src_relpath": "a.txt", "dst_relpath": "z.txt"},
    ("POST", "/folder/file/fetch"): {**FOLDER, "relpath": "a.txt"},
    ("POST", "/folder/file/download"): {
        **FOLDER,
        "relpath": "a.txt",
        "archive": False,
        "unmanaged_path": None,
    },
    ("POST", "/folder/file/upload"): {**FOLDER, "relpath": "new", "size": 1, "tree": False},
    ("POST", "/folder/file/delete"): {**FOLDER, "relpaths": ["a.txt"], "recursive": True},
    ("POST", "/folder/file/archive-download-token"): {
        "volume": "local",
        "virtual_folder_id": VFID,
        "files": ["a.txt"],
        "filename": "x.zip",
    },
}
#: Operations that ignore unknown keys.
TOLERANT = {
    ("POST", "/folder/file/archive-download-token"),
    ("POST", "/folder/file/delete-async"),
    ("POST", "/folder/clone"),
}
#: Keys that a caller may leave out.
OPTIONAL = {
    "options",
    "extra_args",
    "mode",
    "subpath",
    "parents",
    "exist_ok",
    "limit",
    "cursor",
    "is_dir",
    "archive",
    "unmanaged_path",
    "recursive",
    "tree",
    "filename",
}
_ANY_TEXT = {"cursor", "unmanaged_path", "filename"}
_WRONG_IDS = [
    "",
    "x",
    "user:",
    "user:x",
    "/",
    "user:00000000-0000-0000-0000-000000000000/x",
    "group:00000000-0000-0000-0000-000000000000/00000000000000000000000000000000",
    "user:00000000-0000-0000-0000-000000000000/../00000000000000000000000000000000",
    "user:00000000-0000-0000-0000-00000000000/00000000000000000000000000000000",
    "user:0000000000000000-0000-0000-000000000000/00000000000000000000000000000000",
    "user:00000000-0000-0000-0000-000000000000/00000000000000000000000000000000\n",
    "\0",
    "user:\ud800/00000000000000000000000000000000",
    "x" * 4096,
]
_WRONG_PATHS = ["/", "/etc/passwd", "..", "a/../../b", "a\0b", "x" * 256, "x/" * 4096, "\ud800"]
#: Wrong values for a key, in any operation.
WRONG: dict[str, list[Any]] = {
    "volume": ["", "nowhere", "../local", "local\0", "\ud800", "x" * 4096],
    "vfid": [*_WRONG_IDS, None],
    "virtual_folder_id": [*_WRONG_IDS, None],
    "src_vfid": [*_WRONG_IDS, None],
    "dst_vfid": [*_WRONG_IDS, None],
    "src_volume": ["", "nowhere", None],
    "dst_volume": ["", "nowhere"],
    "qsid": [*_WRONG_IDS, "user:00000000-0000-0000-0000-000000000000/x", None],
    "relpath": [*_WRONG_PATHS, None],
    "src_relpath": [*_WRONG_PATHS, None],
    "dst_relpath": [*_WRONG_PATHS, None],
    "subpath": [*_WRONG_PATHS, None],
    "relpaths": [*([path] for path in _WRONG_PATHS), ["."], [""], ["a.txt", 1], "a.txt", None],
    "files": [*([path] for path in _WRONG_PATHS), [], ["a", 1], "a.txt", None],
    "filename": ["", ".", "..", "a/b", "a\\b", "a\nb", "\x7f", "x" * 256, "  "],
    "mode": [-1, 0o10000, "rwx", 1.5, [], 10**30],
    "options": [[], "x", 1, {"limit_bytes": 0}, {"limit_bytes": -1}, {"limit_bytes": 2**63}],
    "size": [-1, 1.5, "1.5", None, True, 2**63, "9" * 5000, float("1e300"), []],
    "size_bytes": ["x", None, [], True],
    "new_name": ["", ".", "..", "a/b", "/a", "a\0b", "x" * 256, "\ud800", None],
    "payload": [1, None, "%%%", [], {}],
    "limit": [0, -1, "x", 10**9, 1.5],
    "parents": ["f", "", "maybe", 2, [], 1.5],
    "exist_ok": ["f", "", "maybe", 2, []],
    "is_dir": ["f", "", "maybe", 2, []],
    "archive": ["f", "", "maybe", 2, []],
    "recursive": ["f", "", "maybe", 2, []],
    "tree": ["f", "", "maybe", 2, []],
    "extra_args": [1, "x", []],
    "cursor": [1, [], {}],
    "unmanaged_path": [1, [], {}],
}
#: mkdir reports these for each path.
_TOLD_BY_PATH = [path for path in _WRONG_PATHS if not path.startswith("/")]


def filled(value: Any, vfid: str) -> Any:
    """Return the value with real ids in place of the placeholders."""
    scope = vfid.partition("/")[0]
    if isinstance(value, dict):
        return {key: filled(below, vfid) for key, below in value.items()}
    return (
        {VFID: vfid, QSID: scope, OTHER: f"{scope}/{'0' * 32}"}.get(value, value)
        if isinstance(value, str)
        else value
    )


def wrong_bodies() -> list[tuple[str, str, str, Any]]:
    """Yield every operation with every wrong value of every key: (method, path, key, body)."""
    found = []
    for (method, path), right in RIGHT.items():
        for key in right:
            kinds = [1, {}, []] if key not in {"options", "extra_args"} else []
            values = [value for value in [*WRONG[key], *kinds] if not _right(path, key, value)]
            found += [(method, path, key, {**right, key: value}) for value in values]
            if key not in OPTIONAL:
                found.append((method, path, key, {k: v for k, v in right.items() if k != key}))
        if (method, path) not in TOLERANT:
            found.append((method, path, "unknown", {**right, "unknown": 1}))
    return found


def _right(path: str, key: str, value: Any) -> bool:
    """Return whether this operation accepts the value."""
    if (path, key) in _TAKEN:
        return _TAKEN[path, key](value)
    if value == 1:
        return key in _NUMBERS_AND_FLAGS
    return value == [] and key == "relpaths"


_NUMBERS_AND_FLAGS = {
    "mode",
    "size",
    "limit",
    "parents",
    "exist_ok",
    "is_dir",
    "archive",
    "recursive",
    "tree",
}
_TAKEN: dict[tuple[str, str], Callable[[Any], bool]] = {
    ("/folder/file/fetch", "volume"): lambda value: isinstance(value, str) and value != "",
    ("/folder/file/mkdir", "relpath"): lambda value: value == [] or value in _TOLD_BY_PATH,
    ("/folder/create", "options"): lambda value: isinstance(value, dict),
    ("/volume/quota", "vfid"): lambda value: value is None,
    ("/volume/quota", "volume"): lambda value: isinstance(value, str) and value != "",
    ("/volume/quota", "size_bytes"): lambda value: value == 1,
}

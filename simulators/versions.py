"""Releases of the arrays that differ for a client, by the settings of the simulator for each."""

from typing import Any

#: The name of a release, or of its interface, and the settings of the simulator; the newest first.
VERSIONS: dict[str, dict[str, dict[str, Any]]] = {
    "hammerspace": {"5.1": {}, "4.6": {"bare_names": True}},
    "netapp": {"9.14": {}},
    "weka": {"4.4": {}, "4.1": {"old_lists": True, "resolves": False}},
    "vast": {"5.2": {}, "4.6": {"stat_path": False}},
    "dellemc-onefs": {"16": {}, "12": {"latest": "12"}},
    "gpfs": {"2": {}, "3": {"native": True}},
    "purestorage": {
        "2.14": {},
        "2.9": {"versions": ["1.0", "1.8", "1.12", "2.0", "2.9"]},
        "1.12": {"versions": ["1.0", "1.8", "1.12"]},
    },
    "exascaler": {"2.15": {}, "2.16": {"delimiter": True}},
}

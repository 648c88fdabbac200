"""The simulated arrays by the name of their backend, for what tests do on all of them."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from simulators.arrays import flashblade, hammerspace, onefs, ontap, scale, scale_native, vast, weka
from simulators.arrays.scale_cluster import BLOCK, Cluster
from simulators.serving import Simulator
from simulators.shelf import Shelf


@dataclass(frozen=True)
class System:
    """How an array is simulated, and the options of a backend on it."""

    #: Takes a shelf, a seed, and settings of the array by name.
    simulate: Callable[..., Any]
    #: Takes the address of the array.
    options: Callable[[str], dict[str, Any]]
    secret: str
    #: The option with the secret.
    secret_option: str
    #: Limits are multiples of this many bytes.
    unit_bytes: int = 1
    #: The setting by which what is in a directory is counted later, in seconds.
    counting: str = ""
    #: Options of a backend for another place of the array than the mounted one.
    elsewhere: dict[str, str] | None = None
    #: Texts in the paths of requests that wait: for a task, or for a database that follows.
    waits: tuple[str, ...] = ()


def _hammerspace(shelf: Shelf, seed: int = 0, **settings: Any) -> Simulator:
    return hammerspace.HammerspaceSim(shelf, hammerspace.Profile(**settings), seed)


def _ontap(shelf: Shelf, seed: int = 0, **settings: Any) -> Simulator:
    return ontap.OntapSim(shelf, ontap.Profile(**{"quota": "on", **settings}), seed)


def _weka(shelf: Shelf, _: int = 0, **settings: Any) -> Simulator:
    return weka.WekaSim(shelf, weka.Profile(**settings))


def _vast(shelf: Shelf, _: int = 0, **settings: Any) -> Simulator:
    return vast.VastSim(shelf, vast.Profile(**settings))


def _onefs(shelf: Shelf, _: int = 0, **settings: Any) -> Simulator:
    return onefs.OneFsSim(shelf, onefs.Profile(**settings))


def _scale(shelf: Shelf, seed: int = 0, **settings: Any) -> Simulator:
    """A GUI node, or an API node; settings of the cluster are those that its commands have too."""
    native = settings.pop("native", False)
    known = {field.name for field in fields(Cluster)}
    cluster = {name: settings.pop(name) for name in list(settings) if name in known}
    if native:
        profile = scale_native.NativeProfile(**settings)
        return scale_native.NativeSim(Cluster(shelf, **cluster), profile, seed=seed)
    return scale.ScaleSim(Cluster(shelf, **cluster), scale.Profile(**settings), seed=seed)


def _flashblade(shelf: Shelf, _: int = 0, **settings: Any) -> Simulator:
    return flashblade.FlashBladeSim(shelf.top, flashblade.Profile(**settings), shelf)


#: Arrays that limit directories.
WITH_QUOTA = {
    "hammerspace": System(
        _hammerspace,
        hammerspace.options,
        hammerspace.PASSWORD,
        "password",
        elsewhere={"base_path": "/elsewhere"},
        waits=("/tasks/",),
    ),
    "netapp": System(
        _ontap,
        ontap.options,
        ontap.PASSWORD,
        "netapp_ontap_password",
        unit_bytes=ontap.GRANULE,
        waits=("/cluster/jobs/",),
    ),
    "weka": System(
        _weka,
        weka.options,
        weka.PASSWORD,
        "weka_password",
        unit_bytes=weka.GRANULE,
        counting="counting_seconds",
    ),
    "vast": System(
        _vast,
        vast.options,
        vast.PASSWORD,
        "vast_password",
        counting="sync_seconds",
        elsewhere={"vast_storage_base_dir": "/elsewhere"},
        waits=("vtasks",),
    ),
    "dellemc-onefs": System(
        _onefs,
        onefs.options,
        onefs.PASSWORD,
        "dell_password",
        counting="scan_seconds",
        elsewhere={"dell_ifs_path": "/ifs/elsewhere"},
    ),
    "gpfs": System(
        _scale,
        scale.options,
        scale.PASSWORD,
        "gpfs_password",
        unit_bytes=BLOCK,
        elsewhere={"gpfs_path": f"{scale.BASE}/below"},
        waits=("/jobs/", "/refreshTask/"),
    ),
}
SYSTEMS = WITH_QUOTA | {
    "purestorage": System(_flashblade, flashblade.options, flashblade.API_TOKEN, "purity_api_token")
}

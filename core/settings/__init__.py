"""All configuration, typed: one TOML file in the reference's format, and the environment over it.

A setting `[api.manager] service-addr` is overridden by the variable
`VFOLDER__API__MANAGER__SERVICE_ADDR`; with `_FILE` behind the name, the value is read from that
file. This is the only place that reads the environment.
"""

from core.settings.etcd import Etcd
from core.settings.own import RedisTarget
from core.settings.reference import StorageProxyTable, VolumeTable
from core.settings.report import effective, ineffective_keys, masked, reload, value_of
from core.settings.settings import (
    CONFIG_NAME,
    CONFIG_VARIABLE,
    OVERRIDE_PREFIX,
    Settings,
    find,
    load,
)
from core.settings.units import Address, address, size_bytes

__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "OVERRIDE_PREFIX",
    "Address",
    "Etcd",
    "RedisTarget",
    "Settings",
    "StorageProxyTable",
    "VolumeTable",
    "address",
    "effective",
    "find",
    "ineffective_keys",
    "load",
    "masked",
    "reload",
    "size_bytes",
    "value_of",
]

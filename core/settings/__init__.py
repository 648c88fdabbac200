"""All configuration, typed: one TOML file in the reference's format, and the environment over it.

A setting `[api.manager] service-addr` is overridden by the variable
`VFOLDER__API__MANAGER__SERVICE_ADDR`; with `_FILE` behind the name, the value is read from that
file. This is the only place that reads the environment.
"""

from core.settings.settings import (
    CONFIG_NAME,
    CONFIG_VARIABLE,
    OVERRIDE_PREFIX,
    Settings,
    find,
    load,
)

__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "OVERRIDE_PREFIX",
    "Settings",
    "find",
    "load",
]

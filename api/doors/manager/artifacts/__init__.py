"""Routes of artifacts: storages that keep models, registries that models come from."""

from api.doors.manager.artifacts import (
    huggingface,
    object_storages,
    reservoir,
    vfs_storages,
)

__all__ = ["BLUEPRINTS"]

#: All of them, in the order of the document.
BLUEPRINTS = (
    vfs_storages.blueprint,
    object_storages.blueprint,
    huggingface.blueprint,
    reservoir.blueprint,
)

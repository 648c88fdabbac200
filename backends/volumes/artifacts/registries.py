"""The registries of this node, by the names of the configuration."""

from collections.abc import Callable

from backends.systems.registries import Hub, Reservoir
from backends.systems.s3 import DEFAULT_REGION, Bucket, S3Endpoint
from backends.volumes.artifacts.objects import JOB_PATIENCE_SECONDS
from core.errors import RegistryNotFound, StorageError
from core.settings import Settings


class ModelTooLarge(StorageError):
    """A model is larger than `max-model-size` of its registry allows."""

    error_code = "storage-proxy_access_invalid-parameters"
    kind = "registries/model-too-large"
    title = "The model is too large"
    status = 413


class ArtifactRegistries:
    """The registries that the configuration names; each keeps its connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hubs: dict[str, Hub] = {}

    def hub(self, name: str) -> Hub:
        """Return a hub.

        Raises:
            RegistryNotFound: no registry of this kind has the name.
        """
        table = self._settings.artifact_registries.get(name)
        if table is None or table.huggingface is None or table.type != "huggingface":
            raise RegistryNotFound("No Hugging Face registry of this name is configured here.")
        if name not in self._hubs:
            self._hubs[name] = Hub(table.huggingface)
        return self._hubs[name]

    def check_size(self, name: str, size_bytes: int) -> None:
        """Raise ModelTooLarge when a model of this size is not imported from a registry."""
        table = self._settings.artifact_registries.get(name)
        most = None if table is None else table.limits.max_model_bytes
        if most is not None and size_bytes > most:
            raise ModelTooLarge(
                f"The model has {size_bytes} bytes; models of this registry have at most {most}."
            )

    def check_reservoir(self, name: str) -> None:
        """Raise RegistryNotFound when no registry of this kind has the name."""
        table = self._settings.artifact_registries.get(name)
        if table is None or table.reservoir is None or table.type != "reservoir":
            raise RegistryNotFound("No reservoir registry of this name is configured here.")

    def reservoir(self, name: str) -> Reservoir:
        """Return the manager of another site.

        Raises:
            RegistryNotFound: no registry of this kind has the name.
            ConfigurationError: its table lacks a key.
        """
        table = self._settings.artifact_registries.get(name)
        if table is None or table.reservoir is None or table.type != "reservoir":
            raise RegistryNotFound("No reservoir registry of this name is configured here.")
        return Reservoir(table.reservoir, self._settings.reservoir_client)

    def bucket(self, name: str, bucket: str, check: Callable[[], object]) -> Bucket | None:
        """Return a bucket of another site; None when its table names no object storage.

        `check` is called while a call waits; what it raises ends the call.

        Raises:
            RegistryNotFound: no registry of this kind has the name.
            ConfigurationError: the address or the keys cannot be right.
        """
        table = self._settings.artifact_registries.get(name)
        if table is None or table.reservoir is None:
            raise RegistryNotFound("No reservoir registry of this name is configured here.")
        own = table.reservoir
        if not own.endpoint or not own.object_storage_access_key:
            return None
        endpoint = S3Endpoint(
            url=own.endpoint,
            region=own.object_storage_region or DEFAULT_REGION,
            access_key=own.object_storage_access_key,
            secret_key=own.object_storage_secret_key,
        )
        return Bucket(endpoint, bucket, patience_seconds=JOB_PATIENCE_SECONDS, check=check)

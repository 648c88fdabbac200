"""The registries of this node, by the names of the configuration."""

from backends.systems.registries import Hub, Reservoir
from core.errors import RegistryNotFound
from core.settings import Settings


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

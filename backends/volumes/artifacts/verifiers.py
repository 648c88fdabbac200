"""Verifiers: plugins that look at the files of a model before an import publishes it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import BinaryIO, Protocol

from backends.systems.registries import VerifierResult
from backends.volumes.registry import raised
from core.errors import ConfigurationError, StorageError
from core.jobs import Interrupted
from core.settings import ArtifactVerifierTable, Settings

#: The entry-point group of the plugins.
PLUGIN_GROUP = "vfolder.verifiers"
#: So many refused files are named in a result.
NAMED_MAX = 10


class ModelRefused(StorageError):
    """A verifier refuses files of a model."""

    error_code = "storage-proxy_access_invalid-parameters"
    kind = "registries/model-refused"
    title = "A verifier refuses the model"
    status = 422


class VerifierFailed(StorageError):
    """A verifier did not do its work, so the model is not imported."""

    error_code = "artifact-registry_request_unreachable"
    kind = "registries/verifier-failed"
    title = "A verifier failed"
    status = 503
    retriable = True


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model, as a verifier reads it."""

    #: Its path below the directory of the model.
    name: str
    size_bytes: int
    #: Open the content; the caller closes it. A cancelled job raises in `open` and in reads.
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier found."""

    #: Files that are not to be used, each with a reason. One is enough to end the import.
    refused: Mapping[str, str] = field(default_factory=dict)
    #: What else people should know, such as the version of a database of signatures.
    metadata: Mapping[str, str] = field(default_factory=dict)


class Verifier(Protocol):
    """A plugin. Its class is called with the options of its table."""

    def verify(self, files: Sequence[ModelFile]) -> Verdict:
        """Look at all files of one model; a call that raises ends the import of the model.

        A run that dies calls it again. It must bound its own waits.
        """


@dataclass(frozen=True, slots=True)
class VerifierFinding:
    """The result of one verifier, and the files that it refuses."""

    result: VerifierResult
    refused: tuple[str, ...] = ()


class ArtifactVerifiers:
    """The verifiers that the configuration names."""

    def __init__(self, settings: Settings) -> None:
        """Make each of them.

        Raises:
            ConfigurationError: no package provides one, or its code fails.
        """
        self._verifiers: dict[str, Verifier] = {}
        for name, table in settings.artifact_verifiers.items():
            try:
                self._verifiers[name] = made_verifier(table)
            except ConfigurationError as error:
                text = f"[artifact-verifiers.{name}]: {error.detail}"
                raise ConfigurationError(text) from error

    def verify(self, files: Sequence[ModelFile]) -> dict[str, VerifierFinding]:
        """Return what each verifier found; the first that refuses or fails is the last.

        A result that is no success says why in `error`.

        Raises:
            Interrupted, StorageError: what a reader of a file raises.
        """
        found: dict[str, VerifierFinding] = {}
        for name, verifier in self._verifiers.items():
            found[name] = _finding(verifier, files)
            if not found[name].result.success:
                break
        return found


def made_verifier(table: ArtifactVerifierTable) -> Verifier:
    """Return a new verifier.

    Raises:
        ConfigurationError: no package provides it, or its code fails; the text repeats no option.
    """
    plugins = {entry.name: entry for entry in entry_points(group=PLUGIN_GROUP)}
    plugin = plugins.get(table.plugin)
    if plugin is None:
        known = ", ".join(sorted(plugins)) or "none"
        raise ConfigurationError(f"No verifier is called {table.plugin!r}; known: {known}.")
    try:
        verifier: Verifier = plugin.load()(table.options)
    except ConfigurationError:
        raise
    except Exception as error:
        origin = f"The plugin {plugin.name!r} ({plugin.value})"
        raise ConfigurationError(f"{origin} {raised(error)}.") from error
    return verifier


def _finding(verifier: Verifier, files: Sequence[ModelFile]) -> VerifierFinding:
    began, started = datetime.now(UTC), time.monotonic()
    refused: dict[str, str] = {}
    metadata: dict[str, str] = {}
    error = None
    try:
        verdict = verifier.verify(files)
        refused = {str(name): str(reason) for name, reason in verdict.refused.items()}
        metadata = {str(key): str(value) for key, value in verdict.metadata.items()}
    except (Interrupted, StorageError):
        raise  # the job stops, or reading failed
    except Exception as failure:  # noqa: BLE001 - a plugin raises what it likes
        error = f"The verifier {raised(failure)}."
    if refused:
        named = sorted(refused.items())[:NAMED_MAX]
        more = [f"and {len(refused) - NAMED_MAX} more"] if len(refused) > NAMED_MAX else []
        error = "; ".join([*(f"{name}: {reason}" for name, reason in named), *more])
    result = VerifierResult(
        success=error is None,
        infected_count=len(refused),
        scanned_at=began,
        scan_time=time.monotonic() - started,
        scanned_count=len(files),
        metadata=metadata,
        error=error,
    )
    return VerifierFinding(result, tuple(refused))

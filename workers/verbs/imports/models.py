"""The verb `import`: download the files of models, check them, and publish them.

Each model is downloaded into staging beside its target and published when it is complete. The files
are those of one commit, which the first run pins. A killed run is continued inside the file where
it stopped. A model that fails does not stop the others; each end is published at once.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from backends.systems.registries import VerificationResult
from backends.volumes.artifacts import (
    ArtifactRegistries,
    ArtifactStorages,
    ArtifactVerifiers,
    ModelFile,
    ModelRefused,
    ObjectStorage,
    VerifierFailed,
)
from core.cluster import ArtifactDownload
from core.errors import (
    HelperDied,
    RegistryRefused,
    StorageError,
    StorageUnavailable,
    StoreUnavailable,
)
from core.events import EventPublisher, import_event, import_mark, verifying_event
from core.jobs import State
from core.jobs.requests import ImportRequest, ModelRevision, storage_of
from core.names import VFolderId, VFolderPath, counted
from core.settings import Settings
from core.telemetry import logger
from workers.run import Context, Manifest, Outcome
from workers.verbs.imports.buckets import BucketSource, BucketTarget
from workers.verbs.imports.download import Download, patiently
from workers.verbs.imports.sources import HubSource, ImportFile, ModelSource, ReservoirSource
from workers.verbs.imports.targets import StorageTarget, Target, VFolderTarget
from workers.verbs.imports.vfolder_objects import VFolderObjectsTarget
from workers.verbs.objects import has_objects

_log = logger(__name__)
#: Files below this size are received beside each other (bytes), so many at a time.
LARGE_BYTES = 8 << 20
BESIDE = 4
#: Errors that are not of one model: the run ends, and a later one continues or the job fails.
_OF_THE_JOB = (StorageUnavailable, StoreUnavailable, HelperDied)
Facts = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Plan:
    """A model whose files are known."""

    commit: str | None
    files: list[ImportFile]

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(file.size for file in self.files)


class Import:
    """One run of an import."""

    def __init__(self, context: Context, request: ImportRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._target = _target(context, request)
        self._publisher = EventPublisher(context.settings)
        self._manifest: Manifest | None = None
        #: The ends of models, those of earlier runs too, and the errors that this run met.
        self._ended: dict[int, Facts] = {}
        self._errors: dict[int, StorageError] = {}
        #: What each verifier found in a model, by its name.
        self._verified: dict[int, Facts] = {}

    def __call__(self) -> Outcome:
        """Import every model that no earlier run has finished.

        Raises:
            StorageError: no model could be imported; it is the error of the first.
            ConfigurationError: a verifier cannot be used.
        """
        settings = self._context.settings
        self._verifiers = ArtifactVerifiers(settings) if self._request.verify else None
        self._source = _source(self._context, self._request)
        self._manifest = self._target.begin()
        self._ended = {mark["number"]: mark for mark in self._marks("model")}
        plans = self._plan_all()
        self._run.phase("download")
        files = sum(len(plan.files) for plan in plans.values())
        self._run.expect(files, sum(plan.size_bytes for plan in plans.values()))
        for number, plan in plans.items():
            self._end(number, self._tried(number, partial(self._import, number, plan)))
        self._target.clear()
        self._target.settle(self._published_bytes)
        return self._outcome()

    def undo(self) -> None:
        """Remove the staging; models that were published stay."""
        self._run.phase("clean up")
        try:
            self._target.discard()
            self._target.clear()
        finally:
            self._target.settle(self._published_bytes)

    @property
    def _published_bytes(self) -> int:
        return sum(end["size_bytes"] for end in self._ended.values())

    def _marks(self, kind: str) -> list[Facts]:
        return self._manifest.all(kind) if self._manifest else []

    def _mark(self, kind: str, **facts: Any) -> None:  # noqa: ANN401 - JSON values
        if self._manifest:
            self._manifest.mark(kind, **facts)

    # -- The plan ----------------------------------------------------------------------------------
    def _plan_all(self) -> dict[int, _Plan]:
        """Return the files of every model; one whose files are not known ends here."""
        self._run.phase("plan")
        pinned = {mark["number"]: mark["commit"] for mark in self._marks("commit")}
        plans: dict[int, _Plan] = {}
        for number, model in enumerate(self._request.models):
            if number in self._ended:
                continue
            planned = self._tried(number, partial(self._planned, number, model, pinned))
            if isinstance(planned, _Plan):
                plans[number] = planned
            else:
                self._end(number, planned)
        self._target.reserve(self._published_bytes + sum(p.size_bytes for p in plans.values()))
        return plans

    def _planned(self, number: int, model: ModelRevision, pinned: dict[int, str | None]) -> _Plan:
        self._run.check()
        if number not in pinned:
            pinned[number] = patiently(self._run, lambda: self._source.commit(model))
            self._mark("commit", number=number, commit=pinned[number])
        commit = pinned[number]
        files = patiently(self._run, lambda: self._source.files(model, commit))
        if len({file.path for file in files}) != len(files):  # they are received beside each other
            raise RegistryRefused("The registry names a file twice.")
        plan = _Plan(commit, files)
        registries = ArtifactRegistries(self._context.settings)
        registries.check_size(self._request.registry, plan.size_bytes)
        return plan

    # -- One model ---------------------------------------------------------------------------------
    def _tried(self, number: int, call: Callable[[], T]) -> T | Facts:
        """Return what a call returns; the facts of a failure where the model cannot be imported."""
        try:
            return call()
        except _OF_THE_JOB:
            raise
        except StorageError as error:
            model = self._request.models[number]
            _log.warning("model not imported", model=model.model_id, reason=error.detail)
            self._run.fault(model.directory, error.detail)
            self._target.discard()
            self._errors.setdefault(number, error)
            found = self._verified.get(number)
            result = {"verification_result": found and {"verifiers": found}}
            return self._facts(number, success=False) | {"error": error.detail} | result

    def _import(self, number: int, plan: _Plan) -> Facts:
        model = self._request.models[number]
        ready = {mark["number"]: mark["verified"] for mark in self._marks("publish")}
        if number in ready:
            self._verified[number] = ready[number]
        else:
            self._download(number, plan)
            self._mark("publish", number=number, verified=self._verified.get(number, {}))
        owned = self._request.prefix is None
        self._target.publish(number, _place(self._request, model), plan.files, owned=owned)
        return self._facts(number, success=True) | {
            "digest": plan.commit,
            "verification_result": self._verification(number, model),
            "files": len(plan.files),
            "size_bytes": plan.size_bytes,
        }

    def _download(self, number: int, plan: _Plan) -> None:
        model = self._request.models[number]
        record = ArtifactDownload(self._context.settings, model.model_id, model.revision)
        record.begin((file.name, file.size) for file in plan.files)
        download = Download(self._run, self._source, model, plan.commit, record)
        large = [file for file in plan.files if file.size >= LARGE_BYTES]
        self._beside(number, [file for file in plan.files if file.size < LARGE_BYTES], download)
        for file in large:
            self._run.entry(f"{model.directory}/{file.path}")
            self._target.receive(number, file, download)
            download.count_file()
        if self._request.verify:
            event = verifying_event(self._request, model)
            self._publisher.once(f"{import_mark(self._run.job.id, number)}:verify", event)
            self._verify(number, plan)

    def _verify(self, number: int, plan: _Plan) -> None:
        """Let every verifier look at the files.

        Raises:
            ModelRefused, VerifierFailed.
        """
        if self._verifiers is None:
            return
        files = [
            ModelFile(str(file.path), file.size, partial(self._target.open, number, file))
            for file in plan.files
        ]
        found = self._verifiers.verify(files)
        self._run.check()  # a plugin may have caught what a cancelled job raised
        result = VerificationResult(verifiers={name: one.result for name, one in found.items()})
        self._verified[number] = result.document()["verifiers"]
        for name, one in found.items():
            if one.refused:
                refused = [file for file in plan.files if str(file.path) in one.refused]
                self._target.withdraw(number, refused)
                raise ModelRefused(f"The verifier {name} refuses the model: {one.result.error}.")
            if not one.result.success:
                raise VerifierFailed(f"{name}: {one.result.error}")

    def _beside(self, number: int, files: list[ImportFile], download: Download) -> None:
        """Receive small files, several at a time: a hub takes long to answer, not to send."""
        rest, running = iter(files), deque[Future[None]]()
        with ThreadPoolExecutor(BESIDE, thread_name_prefix="import") as pool:
            try:
                for file in rest:
                    download.check()
                    receive = copy_context().run
                    running.append(pool.submit(receive, self._one, number, file, download))
                    if len(running) == BESIDE:
                        running.popleft().result()
                while running:
                    running.popleft().result()
            except BaseException:  # the others end at their next piece
                download.stop()
                raise

    def _one(self, number: int, file: ImportFile, download: Download) -> None:
        self._target.receive(number, file, download)
        download.count_file()

    def _verification(self, number: int, model: ModelRevision) -> Facts | None:
        """Return what the verifiers of the other site and those of this node found."""
        theirs = self._source.verification(model)
        if theirs is None and not self._request.verify:
            return None
        known = theirs.document()["verifiers"] if theirs else {}
        return {"verifiers": known | self._verified.get(number, {})}

    def _facts(self, number: int, *, success: bool) -> Facts:
        model = self._request.models[number]
        about = {"number": number, "model_id": model.model_id, "revision": model.revision}
        end = {"digest": None, "verification_result": None, "files": 0, "size_bytes": 0}
        return about | {"success": success} | end

    def _end(self, number: int, facts: Facts) -> None:
        """Record the end of a model, and publish it at once."""
        self._ended[number] = facts
        self._mark("model", **facts)
        event = import_event(
            self._request,
            self._request.models[number],
            digest=facts["digest"],
            verification=facts["verification_result"],
            success=facts["success"],
        )
        self._publisher.once(import_mark(self._run.job.id, number), event)

    # -- The end -----------------------------------------------------------------------------------
    def _outcome(self) -> Outcome:
        ends = [self._ended[number] for number in sorted(self._ended)]
        good = [end for end in ends if end["success"]]
        if not good:
            raise self._first_error(ends)
        files = sum(end["files"] for end in good)
        size_bytes = self._published_bytes
        amounts = [counted(len(good), "model"), counted(files, "file")]
        if len(good) < len(ends):
            amounts.append(f"all but {len(ends) - len(good)} of {counted(len(ends), 'model')}")
        result = {
            "models": ends,
            "files": files,
            "copied_bytes": size_bytes,
            "method": "download",
        }
        return Outcome(
            sentence=self._run.summary("imported", *amounts, size_bytes=size_bytes),
            result=result,
            state=State.SUCCEEDED if len(good) == len(ends) else State.PARTIAL,
            items=files,
            size_bytes=size_bytes,
        )

    def _first_error(self, ends: list[Facts]) -> StorageError:
        """Return the error of the first model, whichever run met it."""
        if self._errors:
            return self._errors[min(self._errors)]
        return RegistryRefused(str(ends[0].get("error")))


def _place(request: ImportRequest, model: ModelRevision) -> VFolderPath:
    """Return the directory that the files of a model go to."""
    prefix = model.directory if request.prefix is None else request.prefix.lstrip("/")
    return VFolderPath.parse(prefix)


def _source(context: Context, request: ImportRequest) -> ModelSource:
    registries = ArtifactRegistries(context.settings)
    if request.registry_type == "huggingface":
        return HubSource(registries.hub(request.registry))
    storage = _object_storage(context.settings, request)
    if storage is not None:
        bucket = registries.bucket(request.registry, storage.first_bucket, context.run.check)
        if bucket is not None:
            return BucketSource(bucket)
    return ReservoirSource(registries.reservoir(request.registry))


def _target(context: Context, request: ImportRequest) -> Target:
    places = [_place(request, model) for model in request.models]
    if request.vfolder is not None:
        vfolder = VFolderId.parse(request.vfolder)
        kind = VFolderObjectsTarget if has_objects(context, request.volume) else VFolderTarget
        return kind(context, request.volume, vfolder, places)
    storage = _object_storage(context.settings, request)
    if storage is not None:
        return BucketTarget(context, storage, places)
    name = str(storage_of(request.volume))
    return StorageTarget(context, ArtifactStorages(context.settings).vfs(name), places)


def _object_storage(settings: Settings, request: ImportRequest) -> ObjectStorage | None:
    """Return the target when it is an object storage."""
    name = storage_of(request.volume)
    storages = ArtifactStorages(settings)
    if name is None or storages.table(name).type != "object_storage":
        return None
    return storages.objects(name)

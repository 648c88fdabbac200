"""s3: vfolders as objects of a bucket, and a mounted directory for what a bucket cannot keep.

    <path>/<scope>/<2>/<2>/<28>/objects            a vfolder's record: the prefix of its objects
    <path>/<scope>/.vfolder/…                      uploads, manifests, reports, trash, metadata
    <bucket>/<prefix>/<scope>/<2>/<2>/<28>.<16>/…  the objects of the vfolder

A vfolder is there while its record is. So a delete, a restore and the end of a clone are one rename
or one file on the mounted directory, whatever the number of objects. The objects of a record in the
trash are removed by its purge. No two records ever name one prefix, since each has random digits:
a removal for one record takes no object of another one. The directory must be the same one on all
nodes of the volume.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal
from uuid import uuid4

import msgspec
from msgspec import Struct

from backends.base import DEFAULT_MODE, Capacity, Mount
from backends.entries import ContinuedUpload, object_tree
from backends.fs import atomic, descriptors, layout
from backends.mounted import PosixBackend, check_options
from backends.systems.s3.bucket import Bucket
from backends.systems.s3.endpoint import (
    ATTEMPTS,
    CONNECT_SECONDS,
    CONNECTIONS,
    DEFAULT_REGION,
    READ_SECONDS,
    S3Endpoint,
)
from backends.systems.s3.errors import ObjectStorageFailed
from backends.systems.s3.multipart import FileSlice, part_size
from backends.systems.s3.tree import VFolderObjects
from backends.uploads import BegunParts
from core.errors import ConfigurationError, EntryExists, VFolderExists, VFolderNotFound
from core.names import VFolderId, VFolderPath

#: The record of a vfolder, in its directory on the mounted volume.
RECORD_NAME = "objects"
#: A multipart upload that is open for longer belongs to a process that died: 5 TiB take 15 hours
#: at 100 MB/s.
UNFINISHED_SECONDS = 2 * 86_400
#: For how long a job repeats a call to a storage that is overloaded or away.
JOB_PATIENCE_SECONDS = 120.0
#: Tries of one request by boto3 in a job.
JOB_ATTEMPTS = 2
#: The metadata of an object that names the upload by which it came.
UPLOAD_METADATA = "vfolder-upload"
#: Random bytes that tell the prefix of a vfolder from those of others of the same id: in the trash,
#: or in the draft of a job.
GENERATION_BYTES = 8


class S3Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a volume in a bucket; `S3Endpoint` says what each means."""

    bucket: str
    #: Keys of the volume begin with it and a slash; empty is the complete bucket.
    prefix: str = ""
    endpoint: str | None = None
    region: str = DEFAULT_REGION
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    credentials_profile: str | None = None
    addressing: Literal["path", "virtual"] | None = None
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    proxy: str | None = None
    #: Downloads are redirected to presigned URLs of this endpoint, which clients can reach.
    presigned_endpoint: str | None = None
    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS
    attempts: int = ATTEMPTS
    connections: int = CONNECTIONS

    def to_endpoint(self) -> S3Endpoint:
        """Return the endpoint of these options.

        Raises:
            ConfigurationError: a value cannot be right.
        """
        pair = (self.client_certificate, self.client_key)
        if bool(pair[0]) != bool(pair[1]):
            raise ConfigurationError("client_certificate and client_key belong together.")
        return S3Endpoint(
            self.endpoint,
            self.region,
            access_key=self.access_key,
            secret_key=self.secret_key,
            session_token=self.session_token,
            credentials_profile=self.credentials_profile,
            addressing=self.addressing,
            ca_file=self.ca_file,
            client_certificate=(pair[0], pair[1]) if pair[0] and pair[1] else None,
            proxy=self.proxy,
            connect_seconds=self.connect_seconds,
            read_seconds=self.read_seconds,
            attempts=self.attempts,
            connections=self.connections,
        )


class _ObjectsRecord(Struct, frozen=True):
    """Where the objects of a vfolder are, below the prefix of the volume; ends in a slash."""

    prefix: str


class S3Backend(PosixBackend):
    """A bucket. It has no directories: what needs one is refused by name."""

    name: ClassVar[str] = "s3"
    options_type: ClassVar[type[Struct] | None] = S3Options

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount)
        check_options(mount, S3Options)
        self._options = msgspec.convert(dict(mount.options), S3Options)
        try:
            self._endpoint = self._options.to_endpoint()
        except ConfigurationError as error:
            raise ConfigurationError(f"[volume.{mount.volume}.options]: {error.detail}") from error
        #: A job waits between its calls, where it looks whether it ends; boto3 does not look.
        self._patient = replace(self._endpoint, attempts=min(JOB_ATTEMPTS, self._options.attempts))
        self._check: Callable[[], object] = bool
        public = self._options.presigned_endpoint
        self._presigning = None if public is None else replace(self._endpoint, url=public)
        top = self._options.prefix.strip("/")
        self._top = f"{top}/" if top else ""

    @property
    def bucket(self) -> Bucket:
        """Return the bucket of the volume; a job is patient with an overloaded storage."""
        name = self._options.bucket
        if self._held is None:
            return Bucket(self._endpoint, name, of_volume=True)
        patience = JOB_PATIENCE_SECONDS
        return Bucket(
            self._patient, name, patience_seconds=patience, of_volume=True, check=self._check
        )

    def heed(self, check: Callable[[], object]) -> None:
        """See `HasObjects.heed`."""
        self._check = check

    def probe(self) -> str:
        """See `Backend.probe`: of the mounted directory; the bucket must exist and answer."""
        fsid = super().probe()
        self.bucket.check()
        return fsid

    def proved(self) -> frozenset[str]:
        """See `Backend.proved`: what the mounted directory can do says nothing of the bucket."""
        return frozenset()

    def reflinks(self) -> bool:
        """See `MountedBackend.reflinks`."""
        return False

    def capacity(self) -> Capacity:
        """See `Backend.capacity`: a bucket has no size that S3 reports."""
        return Capacity(None, None)

    def create_vfolder(self, vfolder: VFolderId, mode: int = DEFAULT_MODE) -> None:  # noqa: ARG002 - objects have no modes
        """See `Backend.create_vfolder`: the record. Objects have no modes: `mode` has no effect."""
        with self.open_scope(vfolder.scope), self.root() as root:
            if descriptors.exists(vfolder.directory, root):
                raise VFolderExists(f"The vfolder {vfolder} is already there.")
        name = str(uuid4())
        self.draft(vfolder, name)
        try:
            self.publish_draft(vfolder, name)
        except VFolderExists:
            self.drop_draft(vfolder, name)
            raise

    @contextmanager
    def open_vfolder(self, vfolder: VFolderId) -> Iterator[int]:
        """See `Backend.open_vfolder`.

        Raises:
            VFolderNotFound: the vfolder does not exist.
            Unsupported: it exists, and is no directory.
        """
        self.check_vfolder(vfolder)
        if vfolder:
            raise object_tree.unsupported(self, "open a directory")
        yield 0

    def check_vfolder(self, vfolder: VFolderId) -> None:
        """See `Backend.check_vfolder`."""
        with super().open_vfolder(vfolder):
            return

    def vfolder_path(self, vfolder: VFolderId) -> Path:
        """See `Backend.vfolder_path`.

        Raises:
            Unsupported: always; agents can mount no bucket.
        """
        raise object_tree.unsupported(self, f"mount {vfolder}")

    # -- Objects -----------------------------------------------------------------------------------
    def tree(self, vfolder: VFolderId) -> VFolderObjects:
        """See `HasObjects.tree`."""
        with super().open_vfolder(vfolder) as directory:
            return self._objects(directory)

    def tree_at(self, path: PurePosixPath, root: int) -> VFolderObjects:
        """See `HasObjects.tree_at`."""
        with descriptors.opened(path, root) as directory:
            return self._objects(directory)

    def send_file(
        self,
        vfolder: VFolderId,
        path: VFolderPath,
        descriptor: int,
        size_bytes: int,
        *,
        upload: str,
        on_work: Callable[[int], object],
        absent: bool = False,
    ) -> None:
        """See `HasObjectFiles.send_file`: one PUT, or a multipart upload."""
        tree = self.tree(vfolder)
        if absent:
            try:
                tree.check_free(path)
            except EntryExists:
                return
        metadata = {UPLOAD_METADATA: upload}
        tree.put_file(path, descriptor, size_bytes, metadata=metadata, on_part=on_work)

    # -- Parts of uploads, see `HasUploadParts` ----------------------------------------------------
    def part_bytes(self, size_bytes: int) -> int:
        """See `HasUploadParts.part_bytes`."""
        return part_size(size_bytes)

    def begin_parts(self, vfolder: VFolderId, path: VFolderPath, upload: str) -> str:
        """See `HasUploadParts.begin_parts`: a multipart upload."""
        return self.tree(vfolder).begin(path, {UPLOAD_METADATA: upload}).upload_id

    def send_part(
        self,
        vfolder: VFolderId,
        path: VFolderPath,
        begun: str,
        number: int,
        slice_of: tuple[int, int, int],
    ) -> None:
        """See `HasUploadParts.send_part`."""
        part = FileSlice(*slice_of)
        self.tree(vfolder).multipart(path, begun).put_part(number, part, slice_of[2])

    def abandon_parts(self, vfolder: VFolderId, path: VFolderPath, begun: str) -> None:
        """See `HasUploadParts.abandon_parts`."""
        self.tree(vfolder).abandon(path, begun)

    def send_rest(
        self,
        vfolder: VFolderId,
        path: VFolderPath,
        descriptor: int,
        size_bytes: int,
        *,
        upload: str,
        begun: BegunParts,
        on_begun: Callable[[str], object],
        on_work: Callable[[int], object],
    ) -> None:
        """See `HasUploadParts.send_rest`."""
        self.tree(vfolder).put_file(
            path,
            descriptor,
            size_bytes,
            on_part=on_work,
            metadata={UPLOAD_METADATA: upload},
            continued=ContinuedUpload(begun.id, on_begun, begun.count),
        )

    def file_size(self, vfolder: VFolderId, path: VFolderPath) -> int:
        """See `HasObjectFiles.file_size`."""
        head = self.tree(vfolder).head(path)
        return head.size if head else 0

    def check_file(self, vfolder: VFolderId, path: VFolderPath) -> None:
        """See `HasObjectFiles.check_file`; asks nothing."""
        self.tree(vfolder).check_key(path)

    def sent_by(self, vfolder: VFolderId, path: VFolderPath) -> str | None:
        """See `HasObjectFiles.sent_by`."""
        head = self.tree(vfolder).head(path)
        return head.metadata.get(UPLOAD_METADATA) if head else None

    def draft(self, vfolder: VFolderId, name: str) -> VFolderObjects:
        """See `HasObjects.draft`.

        Its prefix is new: an earlier vfolder of this id may be in the trash, and another draft may
        be published first.
        """
        path = layout.staging(vfolder.scope, name)
        with (
            self.root() as root,
            descriptors.made(path.parent, root, descriptors.HIDDEN_MODE) as drafts,
        ):
            with suppress(FileExistsError):
                os.mkdir(name, descriptors.PREFIX_MODE, dir_fd=drafts)
                descriptors.inherit_owner(name, drafts)
            with descriptors.opened(name, drafts) as directory:
                if atomic.read_record(directory, RECORD_NAME, _ObjectsRecord) is None:
                    record = _ObjectsRecord(_new_prefix(vfolder))
                    atomic.replace_file(directory, RECORD_NAME, msgspec.json.encode(record))
                return self._objects(directory)

    def publish_draft(self, vfolder: VFolderId, name: str) -> None:
        """See `HasObjects.publish_draft`."""
        staging, target = layout.staging(vfolder.scope, name), vfolder.directory
        with self.root() as root, descriptors.opened(staging.parent, root) as drafts:
            for attempt in range(descriptors.RACE_TRIES):
                with descriptors.made(target.parent, root, sync_last=True) as parent:
                    try:
                        descriptors.rename_new(name, drafts, target.name, parent)
                    except FileExistsError:
                        raise VFolderExists(f"The vfolder {vfolder} is already there.") from None
                    except FileNotFoundError:  # an empty prefix directory was removed meanwhile
                        if attempt + 1 == descriptors.RACE_TRIES:
                            raise
                    else:
                        return

    def sweep(self) -> int:
        """See `HasObjects.sweep`."""
        before = datetime.now(UTC) - timedelta(seconds=UNFINISHED_SECONDS)
        removed = 0
        for upload, begun in self.bucket.unfinished(self._top):
            if begun < before:
                upload.abort()
                removed += 1
        return removed

    def drop_draft(self, vfolder: VFolderId, name: str) -> None:
        """See `HasObjects.drop_draft`."""
        path = layout.staging(vfolder.scope, name)
        with (
            suppress(FileNotFoundError),
            self.root() as root,
            descriptors.opened(path.parent, root) as drafts,
        ):
            self.before_purge(drafts, name)
            shutil.rmtree(name, dir_fd=drafts)

    def _objects(self, directory: int) -> VFolderObjects:
        record = atomic.read_record(directory, RECORD_NAME, _ObjectsRecord)
        if record is None:
            raise VFolderNotFound("The vfolder has no record of its objects.")
        return VFolderObjects(self.bucket, self._top + record.prefix, self._presigning)

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`: remove the objects that the record names.

        Raises:
            ObjectStorageFailed: some are left; the record stays for the next purge.
        """
        super().before_purge(parent, name, vfolder)
        try:
            objects = self.tree_at(PurePosixPath(name), parent)
        except VFolderNotFound:
            return
        left = sum(1 for _ in objects.remove_all())
        if left:
            raise ObjectStorageFailed(f"The object storage did not remove {left} objects.")


def _new_prefix(vfolder: VFolderId) -> str:
    return f"{vfolder.directory}.{secrets.token_hex(GENERATION_BYTES)}/"

"""Object storage that speaks S3: endpoints, buckets, multipart uploads, errors. Knows no job."""

from backends.systems.s3.bucket import Bucket
from backends.systems.s3.calls import in_order
from backends.systems.s3.endpoint import DEFAULT_REGION, S3Endpoint
from backends.systems.s3.errors import (
    BucketNotFound,
    MultipartNotFound,
    ObjectChanged,
    ObjectNotFound,
    ObjectRefused,
    ObjectStorageDenied,
    ObjectStorageFailed,
    ObjectStorageUnavailable,
)
from backends.systems.s3.multipart import MultipartUpload, UploadedPart, part_size
from backends.systems.s3.objects import NotDeleted, ObjectHead, ObjectPage, StoredObject
from backends.systems.s3.reading import ObjectReader

__all__ = [
    "DEFAULT_REGION",
    "Bucket",
    "BucketNotFound",
    "MultipartNotFound",
    "MultipartUpload",
    "NotDeleted",
    "ObjectChanged",
    "ObjectHead",
    "ObjectNotFound",
    "ObjectPage",
    "ObjectReader",
    "ObjectRefused",
    "ObjectStorageDenied",
    "ObjectStorageFailed",
    "ObjectStorageUnavailable",
    "S3Endpoint",
    "StoredObject",
    "UploadedPart",
    "in_order",
    "part_size",
]

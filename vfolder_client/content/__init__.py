"""The content of files, between here and a vfolder: down, up, as file objects, as directories."""

from vfolder_client.content.copies import copy_entry
from vfolder_client.content.downloads import download_file
from vfolder_client.content.files import RemoteReader, RemoteTextWriter, RemoteWriter
from vfolder_client.content.plans import SyncAction
from vfolder_client.content.results import (
    OnTransfer,
    TransferMeter,
    TransferProgress,
    TransferResult,
)
from vfolder_client.content.sync import SyncOptions, SyncResult, sync_down, sync_up
from vfolder_client.content.trees import download_tree, upload_tree
from vfolder_client.content.uploads import upload_file

__all__ = [
    "OnTransfer",
    "RemoteReader",
    "RemoteTextWriter",
    "RemoteWriter",
    "SyncAction",
    "SyncOptions",
    "SyncResult",
    "TransferMeter",
    "TransferProgress",
    "TransferResult",
    "copy_entry",
    "download_file",
    "download_tree",
    "sync_down",
    "sync_up",
    "upload_file",
    "upload_tree",
]

"""The texts of a job that ended, packed into one field of its record.

Most records of a store are of jobs that ended. Their request, result, error and progress are JSON
of the same few shapes, so that zlib with a preset dictionary (RFC 1950) makes them a third as long.
The field is text: a version, a colon, and base64 of zlib of the four texts, one per line. The
dictionary is the text below, then the quota scope and the vfolders of the record.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping

#: The field, and those that it takes the place of. JSON has no line breaks here.
PACKED = "packed"
FIELDS = ("request", "result", "error", "progress")
#: The version of the dictionary. Records are kept for weeks: a changed text needs a new version.
_VERSION = "1"
#: The time of a compression does not matter here: a job takes milliseconds at least.
_LEVEL = 9
_DICTIONARY = (
    '{"failed":[],"left":[],"uid":,"gid":,"mode":,"path":"","name":"","kind":"","digest":"","scope":"",'
    '"scopes":,"vfolders":,"entries":,"found":{},"repaired":{},"drift_bytes":,"limit_bytes":null,'
    '"expires_at":null,"created_at":"","changed_since":[],"not_in_copy":0,"method":"engine",'
    '"extra_removed":0,"existed":false,"report_lost":"","snapshot":"","file_count":,"used_bytes":,'
    '"allocated_bytes":,"size_bytes":,"unreadable":0,"trash":"","until":"","removed":,'
    '{"type":"/v1/problems/","title":"","status":500,"detail":"","code":"","error_code":"bgtask_'
    'execute_internal-error","errno":null,"retriable":false,"job_id":"","paths":[],"request_id":""}'
    '{"name":"","paths":["","conflict":"fail","pattern":"","limit":null,"keep_seconds":null,'
    '"bandwidth":null,"remove_source":false,"delete_extra":false,"filters":null,"format":"zip",'
    '"source_path":"","target_path":"","project:","volume":"","vfolder":"user:","verb":"usage",'
    '"verb":"delete-files","verb":"delete","verb":"snapshot","verb":"transfer","target_volume":"",'
    '{"source":"user:","strict":false,"target":"user:","target_volume":null,"verb":"clone","verify":'
    '"size","volume":"local"}\n'
    '{"complete":true,"files":,"directories":,"links":0,"hard_links":0,"copied_bytes":,"not_kept":{},'
    '"source":"user:","target":"user:","sentence":"transferred deleted unpacked counted cloned '
    '1,204 files, 2 directories, 3.1 GiB in 1.2 s (MiB/s)"}\n\n'
    '{"waits_for":null,"phase":"publish","percent":100.0,"done_items":,"total_items":,"done_bytes":,'
    '"total_bytes":,"bytes_per_second":,"items_per_second":,"eta_seconds":null,'
    '"stalled_seconds":null,"entry":null,"errors":0,"phases":['
    '{"name":"list","seconds":0.0,"items":{"listed":1},"bytes":{},"total_items":null,'
    '"total_bytes":null},{"name":"plan","seconds":0.0,"items":{"listed":1},"bytes":{"listed":,'
    '"total_items":null,"total_bytes":null},{"name":"copy","seconds":0.0,"items":{"copied":,"bytes":'
    '{"copied":,"total_items":,"total_bytes":},{"name":"verify","seconds":0.0,"items":{"verified":,'
    '"bytes":{"verified":,"total_items":,"total_bytes":},{"name":"remove","seconds":0.0,"items":'
    '{"removed":,"bytes":{},{"name":"publish","seconds":0.0,"items":{},"bytes":{},"total_items":null,'
    '"total_bytes":null}],"text":"cloned 1,204 files, 3.1 GiB in 1.2 s (MiB/s)"}'
)


def packed(fields: Mapping[str, str], known: str) -> str:
    """Return the packed texts of a record; empty where that would not be shorter.

    `known` is the text of the record's scope and vfolders, as `unpack` finds it.
    """
    texts = [fields.get(name, "") for name in FIELDS]
    if any("\n" in text for text in texts):
        return ""
    made = zlib.compressobj(_LEVEL, zdict=_dictionary(known))
    content = made.compress("\n".join(texts).encode()) + made.flush()
    found = f"{_VERSION}:{b64encode(content).decode()}"
    plain = sum(len(name) + len(text) for name, text in zip(FIELDS, texts, strict=True) if text)
    return found if len(found) + len(PACKED) < plain else ""


def unpack(fields: dict[str, str]) -> None:
    """Put the texts of a packed record back into its fields; others stay as they are.

    Raises:
        ValueError: they cannot be read: the record is damaged, or of a newer version.
    """
    found = fields.pop(PACKED, "")
    if not found:
        return
    version, _, content = found.partition(":")
    if version != _VERSION:
        raise ValueError(f"packed by a newer version: {version[:8]}")
    reading = zlib.decompressobj(zdict=_dictionary(known_of(fields)))
    try:
        text = reading.decompress(b64decode(content, validate=True)) + reading.flush()
    except zlib.error as error:
        raise ValueError("packed texts are damaged") from error
    if not reading.eof:
        raise ValueError("packed texts are cut off")
    fields.update(zip(FIELDS, text.decode().split("\n"), strict=True))


def known_of(fields: Mapping[str, str]) -> str:
    """Return what a record of a job that ended says of its scope and vfolders."""
    return f"{fields.get('scope', '')} {fields.get('vfolders', '')}"


def _dictionary(known: str) -> bytes:
    return (_DICTIONARY + known).encode()

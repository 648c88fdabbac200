"""Names that tests and the hooks of schemathesis agree on; this file does not import it.

Its import takes long, and it runs as a program of its own.
"""

#: The storage of `/v1/storages` that exists.
STORAGE = "shelf"
#: Names the vfolder that exists, on the wire of the manager.
VFID_VARIABLE = "WIRE_TEST_VFID"
#: Names the vfolder of a person that exists, and a job about it.
VFOLDER_VARIABLE = "PEOPLE_TEST_VFOLDER"
JOB_VARIABLE = "PEOPLE_TEST_JOB"

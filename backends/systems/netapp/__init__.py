"""netapp: ONTAP over its REST interface (ONTAP 9.8 and newer), mounted by NFS.

A quota scope is a qtree of one volume with a tree quota rule (NetApp: ONTAP REST API, `storage`).
Knows no job and no HTTP door.
"""

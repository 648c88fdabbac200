"""gpfs, spectrumscale: IBM Storage Scale over a REST interface of it, or its commands.

A quota scope is an independent fileset, linked at the scope's directory, with a fileset quota (IBM:
Storage Scale documentation, management API). It is mounted. Knows no job and no HTTP door.
"""

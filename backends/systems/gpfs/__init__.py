"""gpfs, spectrumscale: IBM Storage Scale over its management API or its commands, mounted.

A quota scope is an independent fileset, linked at the scope's directory, with a fileset quota (IBM:
Storage Scale documentation, management API). Knows no job and no HTTP door.
"""

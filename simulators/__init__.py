"""Simulated arrays, and stand-ins of vendors' programs. Knows nothing of this service.

They are written from the vendors' references, not from our clients. They are installed with the
package, so that a site can try a configuration without an array.
"""

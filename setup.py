"""The part in C, which pyproject.toml cannot describe.

It is optional: without it, slower Python code does the same work. Each process
reports a missing part when it starts (`backends.fs.native`).
"""

from setuptools import Extension, setup

SOURCES = (
    "module",
    "copy",
    "listing",
    "opening",
    "reading",
    "scan",
    "unlink",
    "zip_files",
    "zip_items",
)

setup(
    ext_modules=[
        Extension(
            "backends.fs._native",
            [f"backends/fs/c_source/{name}.c" for name in SOURCES],
            depends=[f"backends/fs/c_source/{name}.h" for name in ("native", "zip_items")],
            extra_compile_args=["-O2", "-fvisibility=hidden", "-Wall", "-Wextra"],
            optional=True,
        )
    ],
)

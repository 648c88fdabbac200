"""What pyproject.toml cannot say: parts in C, each of which may be missing for its Python twin."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(name, [source], optional=True, extra_compile_args=["-O2"])
        for name, source in {
            "backends.tree._fast": "backends/tree/_fast.c",
            "backends.fs._directory": "backends/fs/_directory.c",
            "backends.archives._reading": "backends/archives/_reading.c",
        }.items()
    ],
)

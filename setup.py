"""What pyproject.toml cannot say: C parts that may be missing (see backends/tree/fast.py, backends/directory.py)."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(name, [source], optional=True, extra_compile_args=["-O2"])
        for name, source in {
            "backends.tree._fast": "backends/tree/_fast.c",
            "backends._directory": "backends/_directory.c",
        }.items()
    ],
)

"""What pyproject.toml cannot say: a C part that may be missing (see backends/tree/fast.py)."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "backends.tree._fast",
            ["backends/tree/_fast.c"],
            optional=True,
            extra_compile_args=["-O2"],
        ),
    ],
)

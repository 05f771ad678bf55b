"""Build of the Cython kernels and the literal list of what the product installs.

Directives live here and nowhere else. ``CYTHON_DEBUG=1`` turns every run-time check on, so that the
tests can run against checked kernels too.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = ("allocate", "registers", "seqlock", "series")

PACKAGES = [
    "aggregator",
    "aggregator.cli",
    "cloud_link",
    "cloud_link.protocol",
    "control",
    "control.limits",
    "control.services",
    "cython_ext",
    "drivers",
    "drivers.catalog",
    "drivers.dlt645",
    "drivers.modbus",
    "drivers.simulator",
    "drivers.sunspec",
    "edge",
    "edge.cli",
    "edge.controller",
    "edge.demo",
    "edge.services",
    "examples",
    "models",
    "models.forecast",
]

DEBUG = bool(os.environ.get("CYTHON_DEBUG"))
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": DEBUG,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
    "cdivision": not DEBUG,
}

setup(
    packages=PACKAGES,
    package_data={
        "cython_ext": ["*.pyi", "*.pxd"],
        "drivers.catalog": ["*/*.toml", "*.json"],
        "drivers.sunspec": ["models/*.json"],
        "edge": ["*.toml", "py.typed"],
        "examples": ["*.toml", "*.md", "data/*", "data/protocol/*", "data/protocol/goodwe/*", "tariffs/*"],
    },
    ext_modules=cythonize(
        [
            Extension(f"cython_ext.{name}", [f"cython_ext/{name}.pyx"], extra_compile_args=["-O3"])
            for name in KERNELS
        ],
        compiler_directives=DIRECTIVES,
        build_dir="build/cython",
    ),
)

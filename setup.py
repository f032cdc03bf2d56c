"""Build script: everything declarative is in pyproject.toml, the compiling itself in buildtools/."""

import sys
from pathlib import Path

from setuptools import setup

# A PEP 517 front end does not put the project's folder on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from buildtools.command import BuildExt
from buildtools.modules import extensions

# The guard matters where multiprocessing imports this file again in its workers (spawn, forkserver).
if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})

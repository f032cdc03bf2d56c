"""The build_ext command: generate, translate, compile; in parallel, incrementally, and keeping going.

One broken module does not keep the others from being built: failures are gathered and the build
fails at its end, naming them all.
"""

import fcntl
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from subprocess import CalledProcessError

from Cython.Build import cythonize
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError, CompileError

from buildtools import floor, layout, modules, switches
from buildtools.modules import DIRECTIVES, LAYOUT, LAYOUT_FOLDER, ROOT, declaration_files, fingerprint

BUILD = ROOT / "build"
# One folder for the generated C, outside the packages.
C_FOLDER = "build/c"
TAG = sys.implementation.cache_tag


class BuildExt(build_ext):
    """Builds every compiled module and the plain-C floor program."""

    def initialize_options(self):
        super().initialize_options()
        self.parallel = workers()
        self.failures = []

    def run(self):
        os.chdir(ROOT)
        with one_build_at_a_time():
            forget_if_flags_changed()
            self.extensions = self.translated(self.extensions)
            if self.inplace:
                # An editable install would compile into a temporary folder, and so everything anew.
                self.build_temp, self.build_lib = f"build/temp-{TAG}", f"build/lib-{TAG}"
                modules.remove_stale()
            super().run()
            self.build_floor()
        if self.failures:
            raise CompileError("not built: " + "; ".join(self.failures))

    def translated(self, wanted):
        """Generate switches and layout, turn every .py and .pyx into C; what fails is left out and noted."""
        switches.generate(ROOT / "cpus" / "switches.pxd")
        try:
            layout.generate(declaration_files(), LAYOUT_FOLDER)
        except layout.LayoutError as error:
            self.failures.append(str(error))
            wanted = [ext for ext in wanted if ext.name != LAYOUT]
        done = cythonize(
            wanted,
            nthreads=self.parallel,
            build_dir=C_FOLDER,
            compiler_directives=DIRECTIVES,
            annotate=os.environ.get("EMU_ANNOTATE") == "1",
            force=bool(self.force),
            exclude_failures=True,
            show_all_warnings=False,
        )
        by_name = {ext.name: ext for ext in done}
        for ext in wanted:
            if ext.name in by_name:
                ext.sources, ext.depends = by_name[ext.name].sources, by_name[ext.name].depends
            else:
                self.failures.append(f"{ext.name} (Cython, see above)")
        return [ext for ext in wanted if ext.name in by_name]

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError):
            self.failures.append(f"{ext.name} (C compiler, see above)")

    def build_floor(self):
        try:
            floor.build(ROOT if self.inplace else Path(self.build_lib), self.force)
        except CalledProcessError:
            self.failures.append("floor (C compiler, see above)")

    def copy_extensions_to_source(self):
        """Copy what was built; what was not is reported by run()."""
        failed = {text.split(" ", 1)[0] for text in self.failures}
        self.extensions = [ext for ext in self.extensions if ext.name not in failed]
        super().copy_extensions_to_source()


def workers() -> int:
    """Cores this process may run on, which in a container are often fewer than the host has."""
    return len(os.sched_getaffinity(0))


def forget_if_flags_changed() -> None:
    """Discard what was compiled with other flags, directives or versions than today's.

    Once, and not by forcing: a build that then fails has to go on where it stopped.
    """
    stamp = BUILD / "fingerprint"
    if stamp.exists() and stamp.read_text() == fingerprint():
        return
    for folder in [ROOT / C_FOLDER, *BUILD.glob("temp*")]:
        shutil.rmtree(folder, ignore_errors=True)
    stamp.write_text(fingerprint())


@contextmanager
def one_build_at_a_time():
    """Two builds in one tree would read each other's half-written C files."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

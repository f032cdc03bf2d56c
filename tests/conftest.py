"""What all tests share: the tests of the machine leave nothing behind."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Runs of tests are kept, but not among the user's.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="emu-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

MACHINE_TESTS = ("ipc", "cpus", "faults", "stress")
HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Children, descriptors, threads, names: as before the test. (Other folders' tests may do as they like.)"""
    path = Path(request.node.path)
    if HERE not in path.parents or path.relative_to(HERE).parts[0] not in MACHINE_TESTS:
        yield
        return
    from tests.processes import leftovers

    before = leftovers()
    yield
    after = leftovers()
    assert after == before


# A loaded host is slow; deadlines belong to pytest-timeout.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
hypothesis.settings.load_profile("project")

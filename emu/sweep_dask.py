"""A sweep's cells on the workers of an existing Dask cluster, one at a time on each host.

Two cells on one host would measure each other, so only one worker of each host gets one, however many it has. A worker
runs a cell in a process of its own, as everybody does. Its code must be ours: what it measures is kept under our code's
digest.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from emu.errors import DiedError, NotSupportedError, UsageError, one_line
from emu.sweep import Cell, Sweep, finish

CONNECT_SECONDS = 10


def need_dask() -> None:
    """Refuse, naming the package, before anything is started."""
    if find_spec("distributed") is None:
        raise NotSupportedError("--dask needs distributed, which is not installed: pip install 'dask[distributed]'")


def on_worker(argv: list[str], code: str) -> tuple[dict[str, Any] | None, int, str]:
    """In a worker: run one cell; (document, exit code, what it said)."""
    from emu import cell
    from emu.record_keep import code_version

    if code_version() != code:
        return None, UsageError.exit_code, f"this worker's percpu-emu is {code_version()}, ours is {code}"
    found = cell.run(argv)
    return found.document, found.exit_code, found.said


def hosts(workers: dict[str, Any]) -> dict[str, str]:
    """Host -> the worker of it that gets cells."""
    found: dict[str, str] = {}
    for address in sorted(workers):
        found.setdefault(str(workers[address].get("host") or urlsplit(address).hostname), address)
    return found


def run_there(made: Sweep, address: str, stop: Any, advance: Callable[[], None]) -> None:
    """Run what is left on the cluster at ADDRESS; UsageError if there is none, DiedError if it goes away."""
    need_dask()
    from distributed import Client, as_completed

    from emu.record_keep import code_version

    code = code_version()
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = one_line(str(error) or type(error).__name__)
        raise UsageError(f"--dask {one_line(address)}: no scheduler answers there: {reason}") from None
    with client, client.as_current():
        places = hosts(client.scheduler_info(n_workers=-1)["workers"])
        if not places:
            raise UsageError(f"--dask {one_line(address)}: the cluster has no workers")
        left = list(made.left)
        running: dict[Any, tuple[Cell, str]] = {}
        done = as_completed()

        def start(worker: str) -> None:
            cell = left.pop(0)
            future = client.submit(on_worker, cell.argv, code, workers=[worker], pure=False)
            running[future] = (cell, worker)
            done.add(future)

        for worker in list(places.values())[: len(left)]:
            start(worker)
        for future in done:
            cell, worker = running.pop(future)
            if future.status != "finished":
                raise DiedError(f"--dask: {worker}: {one_line(str(future.exception()))}")
            finish(made, cell, *future.result())
            advance()
            if left and not stop.signum:
                start(worker)

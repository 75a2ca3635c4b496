"""Start a stage from the command line and append a record of the run to data/runs.jsonl."""

import errno
import inspect
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from clipstore.core.errors import InputError

RUNS = Path("data/runs.jsonl")


def run(main: Callable[..., Mapping[str, object] | None]) -> None:
    """Call ``main`` with the command-line arguments; append cell, seconds, peak memory and what ``main`` returns to data/runs.jsonl.

    Timings are in none of DVC's outs, since they would change the digests on every run.

    Raises:
        InputError: the number of arguments differs from that of ``main``'s parameters, or DVC did not start the stage.
    """
    expected = list(inspect.signature(main).parameters)
    stage = Path(sys.argv[0]).stem
    if len(sys.argv) - 1 != len(expected):
        raise InputError(f"usage: python -m stages.{stage} {' '.join(expected).upper()}".rstrip())
    if "DVC_STAGE" not in os.environ:
        raise InputError(f"DVC_STAGE is not set: run `dvc repro {stage}`, or a single cell with `dvc repro {stage}@VALUE-VALUE`")
    start = time.perf_counter()
    facts = _call(main) or {}
    if "LOCAL_RANK" in os.environ:
        return  # a worker process: its parent writes the record
    record = {
        "cell": os.environ["DVC_STAGE"],
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(time.perf_counter() - start, 3),
        "peak_mib": round(_peak_mib(), 1),
        **facts,
    }
    RUNS.parent.mkdir(exist_ok=True)
    with RUNS.open("a") as file:
        file.write(json.dumps(record) + "\n")


def _call(main: Callable[..., Mapping[str, object] | None]) -> Mapping[str, object] | None:
    """Call ``main``; a full disk, or a file that belongs to another user, is reported in one line."""
    try:
        return main(*sys.argv[1:])
    except Exception as error:
        place = getattr(error, "filename", None) or Path.cwd()
        number = getattr(error, "errno", None)
        # NumPy, torch and safetensors raise errors of their own on a full disk, without its number.
        if number in (errno.ENOSPC, errno.EDQUOT) or shutil.disk_usage(Path.cwd()).free < 2**20:
            raise InputError(
                f"{place}: no space left on the disk; free some and run the same command again: nothing cached is lost"
            ) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(
                f"{place}: {os.strerror(number)}; expected write access: does it belong to another user, such as root in a container?"
            ) from error
        raise


def _peak_mib() -> float:
    """Return this process's peak resident memory in MiB.

    On Linux, ``ru_maxrss`` keeps the parent's value across exec, whereas VmHWM belongs to this process alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024

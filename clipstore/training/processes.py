"""The processes, the device and the precision used to train a network on this machine.

`launched` starts a stage in several processes with torchrun; each of them then trains on its part of every batch.
"""

import os
import subprocess
import sys

import torch
from accelerate import PartialState
from tqdm import tqdm

from clipstore.core.errors import InputError
from clipstore.core.nets import Training


def process_state() -> PartialState:
    """Return this process's device, its index and the number of processes.

    Accelerate remembers the first call in a process, so this must be the first: without a GPU, it connects processes only if ``cpu`` is
    set explicitly.
    """
    return PartialState(cpu="LOCAL_RANK" in os.environ and not torch.cuda.is_available())


def precision(settings: Training) -> str:
    """Return Accelerate's name for the precision of matrix products: "bf16" if requested, or if "auto" and fast here, otherwise "no"."""
    from clipstore.encoders.precision import device, fast_bfloat16

    bfloat16 = settings.precision == "bfloat16" or (settings.precision == "auto" and fast_bfloat16(device()))
    return "bf16" if bfloat16 else "no"


_SAID: set[str] = set()


def say_once(line: str, subject: str | None = None) -> None:
    """Print a line on stderr, unless this process has printed one on the subject (by default the line itself)."""
    if (subject or line) not in _SAID:
        _SAID.add(subject or line)
        tqdm.write(line, sys.stderr)


def launched(processes: int, module: str, values: list[str]) -> bool:
    """Run a stage in several processes with torchrun, unless it needs only one process or this is already one of several.

    Args:
        processes: number of processes.
        module: module of the stage.
        values: command line of the stage, starting with the net's name.

    Returns:
        Whether the processes were started here; if so, they have finished and there is nothing left to do.

    Raises:
        InputError: there are fewer GPUs than processes, or a process failed after printing its own error.
    """
    if processes == 1 or "RANK" in os.environ:
        return False
    threads: dict[str, str] = {}
    if torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        if processes > gpus:
            machine = f"this machine has {gpus} {'GPU' if gpus == 1 else 'GPUs'}"
            raise InputError(f"params.yaml: nets.{values[0]}.processes = {processes}: {machine}; expected at most {gpus}")
    else:
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", module, *values]
    if subprocess.run(command, env=os.environ | threads, check=False).returncode:
        raise InputError(f"{' '.join(values)}: one of {processes} processes failed")
    return True

"""Inside `srun`: which of a step's processes this is, said in the words that torch understands.

`srun` starts the processes itself, so nothing is started here; `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR` and
`MASTER_PORT` are set from what SLURM tells every task (sbatch and srun manual, "output environment variables").
"""

import os
import re
from collections.abc import MutableMapping

from ssdet_cli.errors import BY_SRUN, WordsError

_WORDS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
#: Ports: above those of services, below those that systems give out.
_FIRST_PORT, _PORTS = 15000, 15000


def recognise(environment: MutableMapping[str, str] = os.environ) -> None:
    """Take this process for one rank where it is one of several tasks of a step; else change nothing.

    The shell of `sbatch` or `salloc` may know of many tasks (`SLURM_NTASKS`) and is one process: only the step says how
    many run together. What a launcher has set already stays, and so do `MASTER_ADDR` and `MASTER_PORT`.
    """
    launched = "RANK" in environment or "WORLD_SIZE" in environment
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    number = environment.get("SLURM_PROCID", "")
    if launched or not environment.get("SLURM_STEP_ID", "").isdecimal() or not number.isdecimal():
        return
    if not tasks.isdecimal() or int(tasks) < 2:
        return
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    given = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name in environment]
    environment.setdefault("MASTER_ADDR", first_host(hosts) or "localhost")
    environment.setdefault("MASTER_PORT", str(port_of(environment)))
    environment.update(RANK=number, WORLD_SIZE=tasks, LOCAL_RANK=_local_rank(environment))
    environment[BY_SRUN] = ",".join(given) or "1"


def _local_rank(environment: MutableMapping[str, str]) -> str:
    """Number of the GPU to take: with `--gpus-per-task=1` every task sees one, and that one is its own."""
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return "0" if len(visible) == 1 else environment.get("SLURM_LOCALID", "0")


def first_host(hosts: str) -> str:
    """First host of a list as SLURM writes it: `gpu[003-006,9],login` -> `gpu003`."""
    found = re.match(r"[^,\[]*(?:\[[^\]]*\][^,\[]*)*", hosts.strip())
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", found.group() if found else "")


def port_of(environment: MutableMapping[str, str]) -> int:
    """A port that all tasks of a step agree on and that other steps and jobs on the machine hardly have."""
    job, step = (int(re.sub(r"\D", "", environment.get(name, "")) or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return _FIRST_PORT + (job + 131 * step) % _PORTS


def settle(nproc: int, nnodes: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """See that what a configuration says of processes agrees with what `srun` has started.

    One task on every machine, each with `--nnodes`, is a launcher of ours on every machine: that is no rank.

    Raises:
        WordsError: It does not agree.
    """
    if BY_SRUN not in environment:
        return
    tasks, asked = int(environment["WORLD_SIZE"]), nproc * nnodes
    if asked in (1, tasks):
        return
    if nnodes == tasks:
        given = environment.pop(BY_SRUN).split(",")
        for name in _WORDS:
            if name not in given:
                del environment[name]
        return
    raise WordsError(
        f"run.nproc={nproc} (or --gpus) asks for {asked} processes and srun has started {tasks}; inside srun leave "
        "--nproc, --gpus and --nnodes out: its --ntasks says how many there are."
    )

"""One process per GPU, through torch's own elastic launcher.

`ssdet pretrain --nproc 2` checks everything, chooses the run folder, and then is what `torchrun` is: the agent that
starts and watches the ranks. Each rank is `python -m ssdet_cli pretrain --config FILE`, so a run started by hand with
`torchrun ... -m ssdet_cli`, or as a task of `srun` (see `slurm`), takes the same path from there on. What goes wrong in
a rank comes out as that rank's own line and exit code.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssdet_cli.cli import slurm
from ssdet_cli.cli.interruption import interruptible
from ssdet_cli.errors import INTERRUPTED, LAUNCHED, LAUNCHER, RESUME_ME, ConfigError, SsdetError
from ssdet_cli.interrupts import STOP_SIGNALS, STOPPING_SECONDS

if TYPE_CHECKING:
    from ssdet_cli.config.sections import RunConfig, Section

#: Exit codes of a rank that was asked to stop.
_WANTED = (INTERRUPTED, RESUME_ME)


class RankFailed(SsdetError):
    """A rank ended badly; carries its line and its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def is_rank() -> bool:
    """Whether this process is one rank that a launcher started: ours, `torchrun` or `srun`."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def choose_devices(run: "RunConfig") -> "RunConfig":
    """Make the GPUs of `run.gpus` the visible ones, and plan one process on each.

    Must come before torch looks at the GPUs. `run.device` becomes `cuda`, so that a torch without GPU support is an
    error later on and not a run on the CPU.

    Raises:
        ConfigError: No such GPU, a list that is none, or `run.nproc` says otherwise.
    """
    if run.gpus is None or LAUNCHED in os.environ:
        return run
    wanted = gpu_numbers(run.gpus)
    if run.nproc not in (1, len(wanted)):
        raise ConfigError(
            f"run.gpus={run.gpus} is {len(wanted)} process(es) and run.nproc={run.nproc}; give one of them."
        )
    visible = visible_gpus(os.environ)
    if max(wanted) >= len(visible):
        held = f"there are {len(visible)} here (0 to {len(visible) - 1})" if visible else "there is no GPU here"
        raise ConfigError(f"--gpus {run.gpus}: {held}; use --device cpu to compute without.")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible[number] for number in wanted)
    return run.model_copy(update={"nproc": len(wanted), "device": "cuda"})


def gpu_numbers(text: str) -> list[int]:
    """Read `0,1`.

    Raises:
        ConfigError: Not a list of different numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise ConfigError(f"run.gpus={text} must be different numbers with commas between them, as in 0,1.")
    return [int(part) for part in parts]


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that this process may use, in the form of CUDA_VISIBLE_DEVICES.

    The driver's tool knows without torch; where it is absent (AMD, some containers) a short process asks torch.
    """
    if "CUDA_VISIBLE_DEVICES" in environment:
        listed = [name.strip() for name in environment["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in listed if name and name != "-1"]
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        answer = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return [str(number) for number in range(answer.stdout.count("(UUID: GPU-"))]
    asked = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return [str(number) for number in range(int(answer.stdout.strip() or 0))]


def needed(run: "RunConfig") -> bool:
    """Whether this process should start others.

    Raises:
        ConfigError: One named GPU for several processes, or `srun` has started another number.
    """
    slurm.settle(run.nproc, run.nnodes)
    several = run.nproc > 1 or run.nnodes > 1
    if several and run.device.startswith("cuda:"):
        raise ConfigError(
            f"run.device={run.device} is one GPU for run.nproc={run.nproc} processes; give --gpus instead."
        )
    return several and not is_rank()


def arguments(run: "RunConfig", words: Sequence[str]) -> list[str]:
    """Words behind `torchrun` for a command of ours: who takes part, then `words`, those behind `ssdet`."""
    if run.nnodes > 1:
        meet = ["--nnodes", str(run.nnodes), "--node-rank", str(run.node_rank), "--rdzv-endpoint", run.rdzv_endpoint]
    else:
        meet = ["--standalone"]
    return [*meet, "--nproc-per-node", str(run.nproc), "-m", "ssdet_cli", *words]


def start(cfg: "Section", folder: Path, *, resume: bool) -> None:
    """Start the ranks and wait for them.

    Args:
        cfg: Checked configuration of a command.
        folder: Run folder; rank 0 makes it once there is something to write.
        resume: Continue what the folder holds.

    Raises:
        RankFailed: A rank ended badly, or was interrupted.
    """
    from ssdet_cli.config import rundir
    from ssdet_cli.files import write_atomically

    os.environ[LAUNCHED], os.environ[LAUNCHER] = json.dumps(sys.argv), str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // cfg.run.nproc)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(STOPPING_SECONDS))
    flags = ["--resume"] * resume + ["--debug"] * (sys.excepthook is sys.__excepthook__)
    with tempfile.TemporaryDirectory(prefix="ssdet-ranks-") as name:
        config, records = Path(name) / "config.yaml", Path(name) / "records"
        write_atomically(config, rundir.text_of(cfg, folder))
        words = arguments(cfg.run, [cfg.command, "--config", str(config), *flags])
        run_agent(["--log-dir", str(records), *words], records)


def run_agent(words: Sequence[str], records: Path) -> None:
    """Be `torchrun` with these words.

    Args:
        words: As `arguments` gives them.
        records: Folder in which the ranks leave their error files.

    Raises:
        RankFailed: A rank ended badly, the first one to fail is told; or they were interrupted.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    # The agent reports through its exceptions; its log lines would say the same again, at length.
    logging.disable(logging.CRITICAL)

    def pass_on(number: int, _: Any) -> None:
        raise SignalException("", signal.Signals(number))  # the agent's own answer to SIGTERM

    try:
        with interruptible():
            for number in STOP_SIGNALS:
                signal.signal(number, pass_on)
            run(parse_args(list(words)))
    except ChildFailedError as failed:
        raise _first_failure(failed) from failed
    except SignalException as stopped:
        raise _last_words(records, stopped.sigval) from stopped


def _last_words(records: Path, number: signal.Signals) -> RankFailed:
    """What ranks say that were asked to stop: a failure in one of them, else where rank 0 stopped and how to go on."""
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(records.rglob("error.json"))]
    told.sort(key=lambda record: record["exit_code"] in _WANTED)
    if told:
        code = told[0]["exit_code"]
        return RankFailed(told[0]["message"]["message"], code if code in _WANTED else 1)
    if number == signal.SIGINT:
        return RankFailed("interrupted.", INTERRUPTED)
    return RankFailed(f"stopped by {number.name}; run the same command again.", RESUME_ME)


def _first_failure(failed: Any) -> RankFailed:
    """The failure that the others come from: a crash, else what a rank says, which is the same on all of them."""
    rank, failure = min(failed.failures.items(), key=lambda item: (_order(item[1]), item[1].timestamp, item[0]))
    if (told := _told(failure)) is not None:
        message, code = told
        return RankFailed(message, code)
    if failure.exitcode < 0:
        hint = "; the machine may be out of memory" if failure.exitcode == -signal.SIGKILL else ""
        return RankFailed(f"rank {rank} was killed by {failure.signal_name()}{hint}.", 1)
    if failure.exitcode in _WANTED:
        return RankFailed("interrupted.", failure.exitcode)
    return RankFailed(f"rank {rank} ended with exit code {failure.exitcode}.", failure.exitcode)


def _order(failure: Any) -> int:
    """Crashes come first. The agent ends by SIGTERM who is left, and a library whose partner is gone may abort."""
    if _told(failure) is not None:
        return 1
    return 2 if failure.exitcode in (-signal.SIGTERM, -signal.SIGABRT) else 0


def _told(failure: Any) -> tuple[str, int] | None:
    """Line and exit code that a rank left; it may be ended before it has left itself."""
    file = Path(failure.error_file)
    if not file.is_file():
        return None
    said = json.loads(file.read_text(encoding="utf-8"))
    return said["message"]["message"], said["exit_code"]

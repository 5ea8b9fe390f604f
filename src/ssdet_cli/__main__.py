"""Entry point of `ssdet` and of `python -m ssdet_cli` (which is what torchrun starts)."""

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence

from ssdet_cli.cli.interruption import leave, leave_for_now
from ssdet_cli.errors import BEGAN, INTERRUPTED, LAUNCHED, LAUNCHER


def main() -> None:
    """Carry out the command line and leave with its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as behind nohup
        signal.signal(signal.SIGINT, leave)
    from ssdet_cli import telling  # Ctrl-C is answered from here on
    from ssdet_cli.cli import slurm
    from ssdet_cli.interrupts import STOP_SIGNALS, STOPPING_SECONDS, stop_with_the_launcher

    launched = "RANK" in os.environ
    slurm.recognise(os.environ)
    if not launched:  # a rank that is still preparing ends at once, whoever started it tells why
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, leave_for_now)

    if LAUNCHED not in os.environ:
        os.environ[BEGAN] = str(time.time())  # what loop.max_time counts from
    # Before torch loads its OpenMP. Threads that wait by spinning keep others off the cores: on two cores beside a
    # busy process single training steps took up to ten times as long. Sleeping costs nothing with a loader worker (32
    # against 31 clips/s), a sixth without one; OMP_WAIT_POLICY=ACTIVE in the environment takes that back.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Its C++ warns, with stack traces, where another rank leaves; what comes of that is raised and told.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    arguments, debug = _take_debug(sys.argv[1:])
    if not debug:
        sys.excepthook = telling.unexpected
    code = [1]  # of what is not told by `carry_out`
    if os.environ.get("WORLD_SIZE", "1") != "1":
        atexit.register(_end_rank, code)
        if LAUNCHER in os.environ:
            stop_with_the_launcher(int(os.environ[LAUNCHER]), STOPPING_SECONDS)
    code[0] = carry_out(arguments, debug=debug)
    sys.exit(code[0])


def _end_rank(code: Sequence[int]) -> None:
    """End a rank with its code, after all that is registered later for its end.

    The threads of its process group live until then. While the interpreter and the C++ libraries are taken apart around
    them they may abort, for instance where another rank closes its connections meanwhile, and a launcher would see a
    crash in place of the code.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # it is closed, or nobody reads it
            stream.flush()
    os._exit(code[0])


def _take_debug(words: Sequence[str]) -> tuple[list[str], bool]:
    """`--debug` may stand anywhere before a `--`."""
    end = words.index("--") if "--" in words else len(words)
    return [word for number, word in enumerate(words) if word != "--debug" or number > end], "--debug" in words[:end]


def carry_out(arguments: Sequence[str], *, debug: bool = False) -> int:
    """Run one command and return its exit code; what a user can mend is told in one line.

    Args:
        arguments: Words after `ssdet`.
        debug: Print tracebacks as well.
    """
    import traceback

    from ssdet_cli.errors import SsdetError
    from ssdet_cli.telling import is_of_a_full_disk, tell_error

    try:
        return _dispatch(arguments)
    except (SsdetError, KeyboardInterrupt) as error:
        caught = error
    except OSError as error:
        if not is_of_a_full_disk(error):
            raise
        caught = error
    if debug:
        traceback.print_exception(caught)
    return tell_error(caught)


def _dispatch(arguments: Sequence[str]) -> int:
    """Let Typer read the words; its complaints become ours."""
    import typer
    from typer.main import get_command

    from ssdet_cli.cli.app import app
    from ssdet_cli.cli.usage import UsageError, usage_error

    try:
        code = get_command(app).main(list(arguments), prog_name="ssdet", standalone_mode=False)
    except UsageError as error:
        raise usage_error(error) from error
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()

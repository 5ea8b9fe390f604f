"""Every error that ssdet raises on purpose.

Each carries ONE line that names the file, key or value and what would be right. The command line prints that line
and leaves with `exit_code`; `--debug` shows the traceback.
"""

#: Exit code of a command that a person interrupted (Ctrl-C).
INTERRUPTED = 130
#: Exit code of a command that a scheduler or its own time limit stopped, and that goes on when it is started again:
#: EX_TEMPFAIL of sysexits.h.
RESUME_ME = 75
#: Environment variable: the second at which the command began, also for the processes that it starts.
BEGAN = "SSDET_BEGAN"
#: Environment variable: set for the processes that `ssdet` starts itself, the parent speaks for them; the words of its
#: own command line, as JSON.
LAUNCHED = "SSDET_LAUNCHED"
#: Environment variable: number of the process that starts those, which end when it is gone.
LAUNCHER = "SSDET_LAUNCHER"
#: Environment variable: set where `srun` has started the processes of a run.
BY_SRUN = "SSDET_SRUN"


class SsdetError(Exception):
    """Something failed while running (a full disk, a rank that died)."""

    exit_code = 1

    def __str__(self) -> str:
        """The one line, also where a loader's worker raised the error and torch put its traceback into the text."""
        text = super().__str__()
        if "Original Traceback" not in text:
            return text
        last = text.strip().splitlines()[-1]
        return last.partition(": ")[2] or last


class RankLost(SsdetError):
    """Another process of the run ended badly, and this one with it.

    Args:
        message: The other one's error.
        exit_code: The other one's.
        speaks: Whether nobody else can tell it.
    """

    def __init__(self, message: str, exit_code: int, *, speaks: bool) -> None:
        super().__init__(message)
        self.exit_code, self.speaks = exit_code, speaks


class ConfigError(SsdetError):
    """A key, flag or value is wrong."""

    exit_code = 2


class WordsError(ConfigError):
    """The words of a command line are wrong, whatever the machine holds."""


class DataError(SsdetError):
    """A video or annotation file is missing, unreadable or contradicts itself."""

    exit_code = 2


class NoSplitError(DataError):
    """A set has other splits than the one that was asked for, and none that answers for it."""


class CheckpointError(SsdetError):
    """A weights file is missing, unreadable or does not fit the model."""

    exit_code = 2


class MissingExtraError(SsdetError):
    """An optional package is needed and absent; the message is the install line."""

    exit_code = 2

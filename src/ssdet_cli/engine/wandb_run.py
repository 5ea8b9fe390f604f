"""A run on Weights & Biases, for who asks for it; the package is optional and imported when a run begins."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from ssdet_cli.errors import MissingExtraError, SsdetError
from ssdet_cli.files import write_atomically

#: Holds the id under which a resumed run goes on.
_ID = "wandb_id.txt"


def require() -> None:
    """See that the package is there, without importing it.

    Raises:
        MissingExtraError: It is not.
    """
    if find_spec("wandb") is None:
        raise MissingExtraError(
            "run.wandb (--wandb) needs Weights & Biases, which is not installed: pip install 'ssdet[log]'."
        )


class WandbRun:
    """What `metrics.jsonl` gets, sent to a project; its files lie in `wandb/` inside the run folder.

    The environment decides about the rest, as the package documents it: WANDB_API_KEY, WANDB_ENTITY, and
    WANDB_MODE=offline for no network at all (`wandb sync` sends it later).

    Args:
        project: Name of the project.
        folder: Run folder; a run that is resumed there goes on under its id.
        config: Plain values of the configuration.

    Raises:
        MissingExtraError: The package is not installed.
        SsdetError: It refuses: no key, no network.
    """

    def __init__(self, project: str, folder: Path, config: dict[str, Any]) -> None:
        require()
        import wandb

        known = folder / _ID
        if not known.is_file():
            write_atomically(known, uuid4().hex[:12] + "\n")
        try:
            self._run = wandb.init(
                project=project,
                dir=folder,
                name=folder.name,
                id=known.read_text(encoding="ascii").strip(),
                resume="allow",
                config=config,
            )
        except (wandb.Error, OSError) as error:
            reason = " ".join(str(error).split())
            raise SsdetError(
                f"Weights & Biases refuses (run.wandb={project}): {reason} WANDB_MODE=offline needs none."
            ) from error
        # Its own step may only rise, and a resumed run goes over some steps again.
        self._run.define_metric("*", step_metric="step")

    def record(self, step: int, epoch: float, split: str, values: dict[str, Any]) -> None:
        """Send one line."""
        self._run.log({"step": step, "epoch": epoch, **{f"{split}/{name}": value for name, value in values.items()}})

    def finish(self, *, failed: bool) -> None:
        """Send what is still waiting, and how the run ended."""
        self._run.finish(exit_code=int(failed))

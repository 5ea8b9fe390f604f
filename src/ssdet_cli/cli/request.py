"""What a command line asks for, before any configuration is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import typer

from ssdet_cli.cli.options import KEYS, given, option_of

#: Options that torchrun has too, or takes for abbreviations of its own.
_ALSO_TORCHRUNS = ("nproc", "nnodes", "node_rank", "rdzv_endpoint")


@dataclass(frozen=True)
class Request:
    """The words of a command, sorted.

    Attributes:
        config: Name or file of a configuration.
        overrides: `section.key=value` words.
        flags: Named options that are given, by parameter name (see `options.KEYS`).
        resume: Continue a run.
        dry_run: Only try.
        print_config: Only show.
        notes: Choices that were made for the user, told once everything is known to be right.
    """

    config: str | None = None
    overrides: Sequence[str] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    dry_run: bool = False
    print_config: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, ctx: typer.Context) -> "Request":
        """Read the parameters of a command; one that it does not have is not asked for."""
        words = ctx.params
        return cls(
            words["config"],
            words["overrides"] or (),
            given(ctx),
            words.get("resume", False),
            words.get("dry_run", False),
            words["print_config"],
        )

    def keys(self) -> dict[str, Any]:
        """Dotted key -> value of the named options."""
        return {KEYS[name]: value for name, value in self.flags.items()}

    def gives(self, *keys: str) -> bool:
        """Whether one of the keys is on the command line."""
        return not set(keys).isdisjoint({*self.keys(), *(word.partition("=")[0] for word in self.overrides)})

    def noting(self, *notes: str) -> "Request":
        """The same with more to tell."""
        return replace(self, notes=(*self.notes, *notes))

    def words(self) -> list[str]:
        """The words behind the command's name that ask for the same, also behind torchrun; `--dry-run` is left out."""
        words = ["--config", self.config] if self.config is not None else []
        for name, value in self.flags.items():
            option = option_of(name)
            if name in _ALSO_TORCHRUNS:
                words.append(f"{KEYS[name]}={value}")
            elif value is True:
                words.append(option)
            else:
                several = value if isinstance(value, list | tuple) else [value]
                words += [word for one in several for word in (option, str(one))]
        return [*words, *["--resume"] * self.resume, *self.overrides]

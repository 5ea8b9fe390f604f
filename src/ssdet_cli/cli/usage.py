"""What Typer says about a wrong word, as one line with the nearest right one."""

from typing import Any

import typer

from ssdet_cli.catalog import nearest
from ssdet_cli.errors import WordsError

#: Typer shows this class by its child only, and which package it lives in depends on Typer's version.
UsageError: Any = typer.BadParameter.__bases__[0]


def usage_error(error: Any) -> WordsError:
    """Turn a usage error into ours: no usage box, the nearest option, and where to read more."""
    context = error.ctx
    message = error.format_message().rstrip(".") + "."
    wrong = getattr(error, "option_name", None)
    if hasattr(error, "possibilities") and context is not None:
        known = [name for param in context.command.get_params(context) for name in param.opts if name.startswith("-")]
        message = f"Unknown option {wrong}.{nearest(wrong, known)}"
    if context is not None:
        message += f" See: {context.command_path} --help"
    return WordsError(message)

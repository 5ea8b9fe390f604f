"""Command groups that import a command when it is called, and that answer a typing error with one line."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError

#: `-h` is help, and help may use a wide terminal.
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Group(TyperGroup):
    """A group that shows its help when called alone, and suggests the nearest command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; none at all asks for help."""
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command.

        Raises:
            ConfigError: No such command; the message holds the nearest and all of them.
        """
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise ConfigError(
                f"Unknown command '{ctx.command_path} {args[0]}'.{nearest(args[0], known)} Known: {', '.join(known)}."
            )
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """The root: knows name, module and one sentence of every command without importing any.

    Subclasses fill `table`: name -> (module with an `app`, sentence).
    """

    table: dict[str, tuple[str, str]]

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command, or return None where there is no such name."""
        if cmd_name not in self.table:
            return None
        command = get_command(import_module(self.table[cmd_name][0]).app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in self.table.items()])


def new_app(**options: Any) -> typer.Typer:
    """A Typer application in the house's manner: plain help (fast), no completion options of its own."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings=SETTINGS,
        pretty_exceptions_enable=False,
        **{"cls": Group, **options},
    )

"""A table of names: what can be chosen by a short name, and where it lives."""

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ssdet_cli.errors import ConfigError


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    lowered = {candidate.lower(): candidate for candidate in known}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f" Did you mean '{lowered[match[0]]}'?" if match else ""


class Catalog:
    """Short name -> `"module:attribute"`, imported only when asked for.

    Somebody else's package adds a name by the entry point group; a name with a colon is an import path and needs no
    registration.

    Args:
        kind: What the names stand for, for error texts ("backbone").
        entries: Name -> `"module:attribute"`.
        aliases: Other name -> name.
        group: Entry point group that adds names (`ssdet.backbones`).
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str],
        *,
        aliases: Mapping[str, str] | None = None,
        group: str | None = None,
    ) -> None:
        self.kind = kind
        self.entries = dict(entries)
        self.aliases = dict(aliases or {})
        self.group = group

    def _plugins(self) -> dict[str, str]:
        return {point.name: point.value for point in entry_points(group=self.group)} if self.group else {}

    def names(self) -> list[str]:
        """All names without aliases, sorted; built-in names win over plug-ins of the same name."""
        return sorted({**self._plugins(), **self.entries})

    def canonical(self, name: str) -> str:
        """Return `name` with an alias replaced.

        Raises:
            ConfigError: No such name; the message holds the nearest and all known ones.
        """
        name = self.aliases.get(name, name)
        if ":" in name or name in self.entries or name in self._plugins():
            return name
        hint = nearest(name, [*self.names(), *self.aliases])
        raise ConfigError(f"Unknown {self.kind} '{name}'.{hint} Known: {', '.join(self.names())}.")

    def get(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises:
            ConfigError: No such name, or its import path does not lead anywhere.
        """
        name = self.canonical(name)
        target = name if ":" in name else {**self._plugins(), **self.entries}[name]
        module, _, attribute = target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            kind = self.kind.capitalize()
            raise ConfigError(f"{kind} '{name}' cannot be imported from '{target}': {error}.") from error

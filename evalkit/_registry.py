"""Names that resolve to classes: a lazy built-in table plus the entry points of installed plugins.

Nothing is imported before it is asked for. A wrong name answers with the closest right ones; a broken plugin
warns where names are listed and raises only where it is asked for by name.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from evalkit.errors import EvalkitError, UnknownName

__all__ = ["PluginWarning", "Registry"]


class PluginWarning(UserWarning):
    """A plugin could not be used; everything else goes on."""


class Registry:
    """A table of `name -> "module:attr"`, extended by an entry-point group.

    Args:
        kind: what is registered, in the singular, for messages (`"metric"`).
        group: entry-point group that plugins register under (`"evalkit.metrics"`).
        table: built-in names. A plugin cannot replace one, so that an id always means the same formula.
    """

    def __init__(self, kind: str, group: str, table: Mapping[str, str]) -> None:
        self.kind, self.group, self.table = kind, group, dict(table)

    @cached_property
    def plugins(self) -> Mapping[str, importlib.metadata.EntryPoint]:
        """Entry points by name, without those that would shadow a built-in name or another plugin."""
        found: dict[str, importlib.metadata.EntryPoint] = {}
        for point in importlib.metadata.entry_points(group=self.group):
            taken = self.table.get(point.name) or (found[point.name].value if point.name in found else None)
            if taken is None:
                found[point.name] = point
            elif taken != point.value:
                warnings.warn(
                    f"{self.kind} {point.name!r} of {point.value} is ignored: the name belongs to {taken}; "
                    "the plugin must register another name",
                    PluginWarning,
                    stacklevel=2,
                )
        return found

    def names(self) -> tuple[str, ...]:
        """Every registered name, built-in first, each part in alphabetical order."""
        return (*sorted(self.table), *sorted(self.plugins))

    def load(self, name: str) -> Any:
        """The class registered under `name`.

        Raises:
            UnknownName: nobody registered it.
            EvalkitError: a plugin registered it, but importing the plugin fails.
        """
        if name in self.table:
            module, _, attribute = self.table[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name not in self.plugins:
            raise UnknownName(self.kind, name, self.names())
        point = self.plugins[name]
        try:
            return point.load()
        except Exception as error:  # a plugin may fail in any way
            raise EvalkitError(
                f"{self.kind} {name!r} comes from the plugin {point.value}, whose import fails with "
                f"{type(error).__name__}: {error}; repair or uninstall that package"
            ) from error

    def working(self) -> Iterator[tuple[str, Any]]:
        """`(name, class)` of everything that can be imported; a broken plugin warns and is left out."""
        for name in self.names():
            try:
                yield name, self.load(name)
            except EvalkitError as error:
                warnings.warn(str(error), PluginWarning, stacklevel=2)

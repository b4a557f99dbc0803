"""Registry of names to lazily imported targets, with entry-point plugins and "did you mean"."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from palimpsest.errors import UserError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named targets that are imported only when asked for.

    Built-in targets are written as ``"module:attribute"``. Other packages add theirs under the
    entry-point group ``palimpsest.<kinds>``, with an underscore for a space; a built-in name cannot
    be taken over by a plugin.

    Args:
        kind: The user's word for one entry, such as ``"suite"``.
        builtin: Names to ``"module:attribute"``, in the order in which they are listed.
        plural: Of ``kind``, where an s is not enough.

    Example:
        >>> shapes = Registry[object]("shape", {"pi": "math:pi"})
        >>> shapes.get("pi")
        3.141592653589793
        >>> shapes.get("pie")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: No shape named 'pie'. Did you mean 'pi'?
        List them with: palimpsest list shapes
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], *, plural: str = "") -> None:
        self.kind = kind
        self.plural = plural or f"{kind}s"
        self._builtin = dict(builtin)

    def __iter__(self) -> Iterator[str]:
        yield from self._builtin
        yield from sorted(name for name in self._plugins() if name not in self._builtin)

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self._plugins()

    def get(self, name: str) -> T:
        """Return the target called ``name``, importing it now.

        Raises:
            UserError: No such name, or a plugin that cannot be imported.
        """
        if name in self._builtin:
            module_name, _, attribute = self._builtin[name].partition(":")
            return cast(T, getattr(import_module(module_name), attribute))
        plugin = self._plugins().get(name)
        if plugin is None:
            raise self.unknown(name)
        try:
            return cast(T, plugin.load())
        except Exception as error:
            raise UserError(
                f"The {self.kind} '{name}' comes from the plugin '{plugin.value}', "
                f"which could not be loaded: {error!r}.",
                hint="Reinstall or remove the package that provides it.",
            ) from error

    def unknown(self, name: str) -> UserError:
        """Return the error for a name that is not registered, with the nearest one that is."""
        return UserError(
            f"No {self.kind} named '{name}'.{did_you_mean(name, self)}",
            hint=f"List them with: palimpsest list {self.plural.replace(' ', '-')}",
        )

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield every name with the first line of its target's documentation.

        A plugin that cannot be loaded is described by what is wrong with it.

        Example:
            >>> dict(Registry[object]("shape", {"root": "math:sqrt"}).describe())
            {'root': 'Return the square root of x.'}
        """
        for name in self:
            try:
                text = inspect.getdoc(self.get(name)) or ""
            except UserError as error:
                text = error.message
            yield name, text.partition("\n")[0]

    def _plugins(self) -> dict[str, EntryPoint]:
        group = f"palimpsest.{self.plural.replace(' ', '_')}"
        return {point.name: point for point in entry_points(group=group)}

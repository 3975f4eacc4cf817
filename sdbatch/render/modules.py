"""Parts of a network put in place of others for a while, and the very same ones put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Swaps:
    """What was changed, so that it can be undone: last change first.

    Nothing is computed to go back; the objects that were taken out are put in again, so the network is bit for bit
    what it was.
    """

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute, or a child module by its name."""
        before = getattr(owner, name)
        setattr(owner, name, value)
        self._undo.append(lambda: setattr(owner, name, before))

    def module(self, root: nn.Module, path: str, module: nn.Module) -> None:
        """Put a module where `path`, such as `mid_block.attentions.0.proj_in`, leads."""
        parent, _, leaf = path.rpartition(".")
        self.attribute(root.get_submodule(parent), leaf, module)

    def restore(self) -> None:
        """Undo every change."""
        while self._undo:
            self._undo.pop()()


class Wrapper(nn.Module):
    """A module around another, which code that looks at the other's weight finds as before."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    @property
    def weight(self) -> Any:
        """The inner module's weight."""
        return self.inner.weight

    @property
    def bias(self) -> Any:
        """The inner module's bias."""
        return self.inner.bias

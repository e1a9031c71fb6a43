"""Attributes that are computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 (it is used as a decorator)
    """``functools.cached_property`` without a lock.

    Before Python 3.12 that has one lock for all objects of a class, and a child that is forked while another thread
    holds it waits for ever. Two threads may compute the same here; either result is right.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        """Take the method that computes the value."""
        self._make, self.__doc__ = make, make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> lazy[T] | T:
        if instance is None:
            return self
        value = vars(instance)[self._name] = self._make(instance)
        return value

"""Names of version 0.1, and the sentence that gives the new one where somebody uses an old one.

The names are in ``renamed.json``, which the C++ runtime and the upgrade of bundles read as well. None of them is an
alias: what is called by an old name does not run.

    @refuses_old_names                      # a function or a method: its keyword arguments
    def __call__(self, source, classes, *, max_classes=None): ...

    @tells_new_names                        # a class: arguments of its constructor, and attributes
    @dataclass(frozen=True)
    class ZoomIn: ...

    class Proposals(metaclass=OldNames): ...     # a class: attributes of itself, such as an old constructor

    def __getattr__(name):                  # a module
        raise missing_name(__name__, name)
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Set
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from clsclip_runtime.documents import read_json
from clsclip_runtime.errors import OptionError

FILE = Path(__file__).with_name("renamed.json")

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


@cache
def old_names(section: str) -> Mapping[str, str]:
    """Old names of one section of ``renamed.json`` and what to use instead."""
    return cast("Mapping[str, str]", read_json(FILE)[section])


def sentence(section: str, name: str, owner: str = "") -> str | None:
    """Say what is to be used instead of an old name.

    Args:
        section: of ``renamed.json``.
        name: what was used.
        owner: what was to have that name, such as ``ZoomIn``.

    Returns:
        One sentence, or None where ``name`` is no old name.
    """
    new = old_names(section).get(name)
    if new is None:
        return None
    return f"{owner + ' has no ' if owner else ''}{name}{' any more' if owner else ' is gone'} since 0.2. Use {new}"


def new_option(option: str, value: str, known: Set[str]) -> str | None:
    """Say what a command takes instead of an option, or a value of an option, that 0.1 had.

    Args:
        option: such as ``--margin``.
        value: as typed behind it; may be anything where it has none.
        known: the options of the command.

    Returns:
        One sentence, or None where neither is old, or this command has not got the new one.
    """
    is_file = not value.startswith("-") and Path(value).suffix != ""
    kept = option in known
    for section, name in (
        ("values_of_options", f"{option} {'FILE' if is_file else value}"),
        ("backends", value if option == "--backend" else ""),
        ("options", "" if kept else option),
    ):
        new = re.findall(r"--[a-z][a-z-]*", old_names(section).get(name, ""))
        if not new or not known.isdisjoint(new):
            told = sentence(section, name)
            if told is not None:
                return told
    return None


def refuses_old_names(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a function: a keyword argument of 0.1 that it does not take any more raises OptionError.

    What it never took raises TypeError, as Python does.
    """
    taken = _keywords(function)

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        _refuse(function.__qualname__, kwargs, taken)
        return function(*args, **kwargs)

    return checked


def tells_new_names(cls: type[_T]) -> type[_T]:
    """Decorate a class: arguments of its constructor and attributes of its objects that 0.1 had give the new name.

    The constructor raises OptionError, the attribute AttributeError. Type checkers still see that neither exists.
    """
    made: Any = cls
    construct = made.__init__
    taken = _keywords(construct)

    @wraps(construct)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        _refuse(cls.__name__, kwargs, taken)
        construct(self, *args, **kwargs)

    def missing(self: Any, name: str) -> Any:
        raise missing_attribute(self, name)

    made.__init__ = checked
    made.__getattr__ = missing
    return cls


class OldNames(type):
    """Metaclass: attributes of the class itself that 0.1 had give the new name."""

    if not TYPE_CHECKING:  # else type checkers would accept any attribute

        def __getattr__(cls, name: str) -> Any:
            raise missing_attribute(cls, name)


def missing_attribute(owner: object, name: str) -> AttributeError:
    """Make the error of an attribute that ``owner`` does not have; it tells the new name of an old one."""
    kind = f"type object '{owner.__name__}'" if isinstance(owner, type) else f"'{type(owner).__name__}' object"
    known = owner.__name__ if isinstance(owner, type) else type(owner).__name__
    message = sentence("attributes", name, known) or f"{kind} has no attribute '{name}'"
    return AttributeError(message, name=name, obj=owner)


def missing_name(module: str, name: str) -> Exception:
    """Make the error of a name that a module does not have; it tells the new name of an old one.

    For an old name that is ImportError: ``from module import Name`` would hide the sentence of an AttributeError.
    """
    told = sentence("classes", name, module)
    if told is not None:
        return ImportError(told, name=module)
    return AttributeError(f"module {module!r} has no attribute {name!r}")


def _keywords(function: Callable[..., Any]) -> frozenset[str] | None:
    """Names that a function takes; None if it takes any."""
    parameters = inspect.signature(function).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return None
    return frozenset(parameters)


def _refuse(owner: str, given: Mapping[str, Any], taken: Collection[str] | None) -> None:
    for name in given:
        told = None if taken is None or name in taken else sentence("arguments", name, owner)
        if told is not None:
            raise OptionError(told)


def rename_keys(document: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    """Give the keys of nested objects their new names.

    Args:
        document: read from JSON.
        table: dotted path of an old key -> of the new one, which stays in the same object.
    """
    here = {old: new for old, new in table.items() if "." not in old}
    changed = {}
    for key, value in document.items():
        inner = {old[len(key) + 1 :]: new.partition(".")[2] for old, new in table.items() if old.startswith(f"{key}.")}
        changed[here.get(key, key)] = rename_keys(value, inner) if isinstance(value, Mapping) else value
    return changed

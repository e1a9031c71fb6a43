"""Vendors' names in the product's source, and whether the real packages have them; see :class:`Reader`.

The source is read, not run. What an expression stands for is followed from where a vendor's module is imported, or
from a seed that says what a variable holds, through attributes, calls and assignments. So a new call on something that
is known is found by itself.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Object:
    """A module, class, function or constant of a vendor."""

    value: Any


@dataclass(frozen=True)
class Of:
    """An object of a vendor's class; ``several`` in a sequence."""

    kind: type
    several: bool = False


Held = Object | Of


@dataclass(frozen=True)
class Use:
    """A vendor's name that the product uses.

    Attributes:
        vendor: top package.
        name: as the source has it.
        line: where.
        problem: what the real package has against it; empty where nothing.
    """

    vendor: str
    name: str
    line: int
    problem: str


class Reader(ast.NodeVisitor):
    """Collects the vendors' names of one module.

    Args:
        vendors: packages to follow, by the name that they are imported by.
        seeds: what expressions hold, by their text, and arguments and variables as ``function(name)``.
    """

    def __init__(self, vendors: Mapping[str, Any], seeds: Mapping[str, Held]) -> None:
        self.vendors, self.seeds = vendors, seeds
        self.uses: list[Use] = []
        self._scopes: list[dict[str, Held]] = [{}]
        self._own: dict[str, Held] = {}
        self._methods: dict[str, Held] = {}
        self._function = ""
        self._reported: set[int] = set()

    def read(self, source: str) -> list[Use]:
        """Every use; read twice, since attributes and methods may be used above where they are made."""
        tree = ast.parse(source)
        self.visit(tree)
        self.uses, self._scopes, self._reported = [], [{}], set()
        self.visit(tree)
        return self.uses

    def holds(self, node: ast.expr) -> Held | None:
        """What an expression stands for; None where it is no vendor's. Notes what is wrong on the way."""
        text = ast.unparse(node)
        if text in self.seeds:
            return self.seeds[text]
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self._scopes) if node.id in scope), None)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in self._own:
                return self._own[node.attr]
            base = self.holds(node.value)
            return None if base is None else self._attribute(node, base)
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.IfExp):
            return self.holds(node.body) or self.holds(node.orelse)
        if isinstance(node, ast.ListComp):
            each = self.holds(node.elt)
            return Of(each.kind, True) if isinstance(each, Of) else None
        if isinstance(node, ast.Subscript):
            base = self.holds(node.value)
            return Of(base.kind) if isinstance(base, Of) and base.several else None
        return None

    def _attribute(self, node: ast.Attribute, base: Held) -> Held | None:
        owner = base.value if isinstance(base, Object) else base.kind
        if isinstance(base, Of) and base.several:
            return None
        try:
            found = getattr(owner, node.attr)
        except AttributeError:
            self._note(node, base, f"{_name(owner)} has no {node.attr}")
            return None
        self._note(node, base)
        if isinstance(base, Of) and isinstance(found, property):
            return _returned(owner, found.fget)
        return Object(found)

    def _called(self, node: ast.Call) -> Held | None:
        function = node.func
        if ast.unparse(function) in ("import_module", "importlib.import_module") and node.args:
            name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            return Object(self._module(node, name)) if self._is_vendor(name) else None
        own = isinstance(function, ast.Attribute) and ast.unparse(function.value) == "self"
        if own and function.attr in self._methods:
            return self._methods[function.attr]
        held = self.holds(function)
        if not isinstance(held, Object):
            return None
        bound = isinstance(function, ast.Attribute) and isinstance(self.holds(function.value), Of)
        self._note(node, held, misfit(held.value, node, bound=bound))
        owner = self.holds(function.value) if isinstance(function, ast.Attribute) else None
        if inspect.isclass(held.value):
            return Of(held.value)
        return _returned(owner.kind if isinstance(owner, Of) else owner and owner.value, held.value)

    def _is_vendor(self, name: object) -> bool:
        return isinstance(name, str) and name.split(".")[0] in {known.split(".")[0] for known in self.vendors}

    def _module(self, node: ast.AST, name: str) -> Any:
        try:
            found = self.vendors[name] if name in self.vendors else importlib.import_module(name)
        except ImportError as error:
            self._note(node, Object(name), str(error))
            return None
        self._note(node, Object(found))
        return found

    def _note(self, node: ast.AST, held: Held, problem: str = "") -> None:
        if id(node) not in self._reported:
            self._reported.add(id(node))
            text = node.name if isinstance(node, (ast.FunctionDef, ast.alias)) else ast.unparse(node)
            self.uses.append(Use(_top(held), text, getattr(node, "lineno", 0), problem))

    # What binds names.

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if self._is_vendor(alias.name):
                top = alias.name if alias.asname else alias.name.split(".")[0]
                self._scopes[-1][alias.asname or top] = Object(self._module(node, top))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if self._is_vendor(node.module) and node.module is not None:
            module = self._module(node, node.module)
            for alias in node.names:
                if hasattr(module, alias.name):
                    self._scopes[-1][alias.asname or alias.name] = Object(getattr(module, alias.name))
                else:
                    self._note(alias, Object(module), f"{node.module} has no {alias.name}")

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._bind(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self._bind(node.target, node.value)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, other in zip(target.elts, value.elts, strict=True):
                self._bind(one, other)
            return
        self._hold(target, self.holds(value))

    def _hold(self, target: ast.expr, held: Held | None) -> None:
        held = held or self.seeds.get(f"{self._function}({ast.unparse(target)})")
        if isinstance(target, ast.Name):
            if held is not None:
                self._scopes[-1][target.id] = held
            else:
                self._scopes[-1].pop(target.id, None)
        elif isinstance(target, ast.Attribute):
            if ast.unparse(target.value) == "self":
                if held is not None:
                    self._own[target.attr] = held
            else:
                self.visit(target)

    def visit_For(self, node: ast.For) -> None:
        self._each(node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._each(node.target, node.iter)
        self.generic_visit(node)

    def _each(self, target: ast.expr, iterated: ast.expr) -> None:
        held = self.holds(iterated)
        if isinstance(held, Of) and held.several:
            self._hold(target, Of(held.kind))

    def _comprehend(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp) -> None:
        for generator in node.generators:  # before what is made of them
            self.visit(generator)
        self.generic_visit(node)

    visit_ListComp = visit_GeneratorExp = visit_SetComp = visit_DictComp = _comprehend  # noqa: N815

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self._function = self._function, node.name
        self._scopes.append({})
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            stated = None if argument.annotation is None else self.holds(argument.annotation)
            held = self.seeds.get(f"{node.name}({argument.arg})")
            if isinstance(stated, Object) and inspect.isclass(stated.value):
                held = Of(stated.value)
            self._hold(ast.Name(argument.arg), held)
        self.generic_visit(node)
        for one in ast.walk(node):
            if isinstance(one, ast.Return) and one.value is not None and (given := self.holds(one.value)) is not None:
                self._methods[node.name] = given
        self._scopes.pop()
        self._function = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._own, self._methods = (self._own, self._methods), {}, {}
        for _ in range(4):  # what one method makes, a method above it may use
            self.generic_visit(node)
        for base in node.bases:
            held = self.holds(base)
            if isinstance(held, Object) and inspect.isclass(held.value):
                self._overridden(node, held.value)
        self._own, self._methods = outer

    def _overridden(self, node: ast.ClassDef, base: type) -> None:
        """Methods that a vendor calls must be those that it calls, with as many arguments."""
        for method in node.body:
            if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                continue
            problem = f"{base.__name__} has no {method.name}"
            if hasattr(base, method.name):
                counts = {len(arguments) for arguments, _ in signatures(getattr(base, method.name))}
                fits = len(method.args.args) in counts
                problem = "" if fits else f"{base.__name__}.{method.name} takes {counts} arguments"
            self._note(method, Object(base), problem)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.holds(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.holds(node)
        self.generic_visit(node)


def misfit(function: Any, call: ast.Call, *, bound: bool) -> str:
    """What is wrong with a call's arguments; empty where nothing, or where nothing is known of them."""
    if any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords):
        return ""
    given, named = len(call.args) + bound, {str(one.arg) for one in call.keywords}
    known = list(signatures(function, bound=bound))
    if not known or any(_fits(arguments, given, named) for arguments, _ in known):
        return ""
    takes = " or ".join(f"({', '.join(arguments)})" for arguments, _ in known)
    return f"{ast.unparse(call)} does not fit {getattr(function, '__name__', function)}{takes}"


def _fits(arguments: Mapping[str, bool], given: int, named: set[str]) -> bool:
    if "**" in arguments:
        return True
    names = [name for name in arguments if name != "*"]
    if given > len(names) and "*" not in arguments:
        return False
    by_place = set(names[:given])
    needed = {name for name in names if arguments[name]} - by_place
    return named <= set(names) - by_place and needed <= named


def signatures(function: Any, *, bound: bool = False) -> Iterator[tuple[dict[str, bool], str]]:
    """Arguments (name to whether it must be given) and what is returned, for every overload; nothing if unknown.

    Args:
        function: of Python, Cython or pybind11; a class is what makes its objects.
        bound: it is a method called on an object; a class's ``self`` counts then.
    """
    if inspect.isclass(function) and not _is_python(function.__init__):
        text = getattr(function.__init__, "__doc__", "") or ""
        for arguments, returns in _described("__init__", text):
            yield dict(list(arguments.items())[1:]), returns
        return
    described = [] if _is_python(function) else list(_described(getattr(function, "__name__", ""), function.__doc__))
    if described:
        yield from described
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    arguments = {}
    for one in signature.parameters.values():
        marks = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}
        arguments[marks.get(one.kind, one.name)] = one.default is one.empty and one.kind not in marks
    if inspect.isclass(function) and "**" in arguments:
        del arguments["**"]  # what it takes for older callers is not for us
    yield arguments, str(signature.return_annotation)


def _is_python(function: Any) -> bool:
    return inspect.isfunction(function) or "cython" in type(function).__name__


def _described(name: str, text: str | None) -> Iterator[tuple[dict[str, bool], str]]:
    """The signatures that pybind11 puts into the first lines of a docstring."""
    for found in re.finditer(rf"^(?:\d+\. )?{re.escape(name)}?\((.*)\) -> (.+)$", text or "", re.MULTILINE):
        arguments = {}
        for one in _split(found[1]):
            argument, _, default = one.partition(" = ")
            arguments[argument.split(":")[0].strip()] = not default
        yield arguments, found[2]


def _split(text: str) -> Iterator[str]:
    """Arguments of a signature, at the commas outside of brackets."""
    depth, start = 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "[(<{") - (letter in "])>}")
        if letter == "," and depth == 0:
            yield text[start:at].strip()
            start = at + 1
    if text[start:].strip():
        yield text[start:].strip()


RETURNS = {"IOBinding.get_outputs": ("OrtValue", True)}
"""What is returned where the package itself does not say: class, whether in a sequence."""


def _returned(owner: Any, function: Any) -> Held | None:
    """What a function gives, as far as its package says."""
    name = f"{getattr(owner, '__name__', '')}.{getattr(function, '__name__', '')}"
    space = importlib.import_module(_module_of(owner) or _module_of(function) or "builtins")
    if name in RETURNS:
        kind, several = RETURNS[name]
        return Of(getattr(space, kind), several)
    for _, returns in signatures(function):
        several = returns.startswith(("Sequence[", "list["))
        last = re.split(r"[.:\[]", returns.rstrip("]'\""))[-1].strip("'\"")
        for place in (space, getattr(space, "C", None)):
            kind = getattr(place, last, None)
            if inspect.isclass(kind) and kind.__module__ != "builtins":
                return Of(kind, several)
    return None


def _module_of(found: Any) -> str | None:
    return found.__name__ if inspect.ismodule(found) else getattr(found, "__module__", None)


def _name(owner: Any) -> str:
    return str(getattr(owner, "__name__", None) or type(owner).__name__)


def _top(held: Held) -> str:
    """The vendor that something is of."""
    found = held.kind if isinstance(held, Of) else held.value
    module = found if isinstance(found, str) else _module_of(found) or _module_of(type(found)) or "?"
    return module.split(".")[0].removesuffix("_bindings")


def any_names(source: str) -> Iterator[str]:
    """Arguments and variables of type Any, as seeds name them: nothing but a seed may say what they hold."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                if argument.annotation is not None and ast.unparse(argument.annotation) == "Any":
                    yield f"{node.name}({argument.arg})"
            for one in node.body:
                if isinstance(one, ast.AnnAssign) and ast.unparse(one.annotation) == "Any":
                    yield f"{node.name}({ast.unparse(one.target)})"
        elif isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.AnnAssign) and ast.unparse(one.annotation) == "Any":
                    yield f"self.{ast.unparse(one.target)}"

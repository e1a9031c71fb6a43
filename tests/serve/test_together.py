"""Calls that several share: none fails another."""

from __future__ import annotations

from collections.abc import Callable

from clsclip_serve.together import together

CALLS: list[str] = []


def gives(name: str) -> Callable[[], str]:
    def run() -> str:
        CALLS.append(name)
        if name == "bad":
            raise ValueError(name)
        return name

    return run


def all_of(*names: str) -> Callable[[], list[str | Exception]]:
    def run() -> list[str | Exception]:
        CALLS.append("batch")
        if "bad" in names:
            raise RuntimeError("the call as a whole")
        return list(names)

    return run


def test_a_call_for_all_or_one_for_each() -> None:
    CALLS.clear()
    assert together(all_of("a", "b"), [gives("a"), gives("b")]) == ["a", "b"]
    assert CALLS == ["batch"]
    CALLS.clear()
    first, second, third = together(all_of("a", "bad", "c"), [gives("a"), gives("bad"), gives("c")])
    assert (first, third) == ("a", "c") and isinstance(second, ValueError)
    assert CALLS == ["batch", "a", "bad", "c"]
    CALLS.clear()
    assert together(all_of("a"), [gives("a")]) == ["a"]
    assert CALLS == ["a"], "one alone needs no batch"

"""The machine's own rate of matrix products."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clsclip_bench import peak
from clsclip_bench.peak import MatrixProduct
from clsclip_runtime.errors import BackendError


class Engines:
    """Engines on a clock of their own; ``absent`` cannot be had."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds = {"slow": [0.2], "first": [0.01], "second": [0.015]}
        self.asked: list[str] = []

    def product(self, name: str) -> peak.Product:
        """Takes its engine's seconds in turn, and the last of them from then on."""

        def product() -> None:
            seconds = self.seconds[name]
            self.asked.append(name)
            self.now += seconds.pop(0) if len(seconds) > 1 else seconds[0]

        return product


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    def absent(precision: str, size: int, threads: int | None) -> peak.Product:
        raise ImportError("no module named absent")

    engines = Engines()
    made = {name: lambda *_, name=name: engines.product(name) for name in engines.seconds}
    monkeypatch.setattr(peak, "_ENGINES", {"cpu": {"absent": absent, **made}})
    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: engines.now))
    return engines


def test_the_fastest_engine_of_every_round_counts(engines: Engines) -> None:
    product = MatrixProduct("fp32", size=100)
    product.load()
    assert product.facts()["engine"] == "first"
    assert set(product.facts()["tried"]) == {"slow", "first", "second"}
    engines.asked.clear()
    assert product.call()["product"] == pytest.approx(0.01)
    assert set(engines.asked) == {"first", "second"}  # the slow one is not asked again
    engines.seconds["second"] = [0.1, 0.002]  # cold, then faster than when it was loaded
    assert product.call()["product"] == pytest.approx(0.002)
    assert product.facts()["engine"] == "second"
    assert product.facts()["tried"]["second"] == pytest.approx(2e6 / 0.002)


def test_no_engine_has_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="no engine multiplies fp16"):
        monkeypatch.setattr(peak, "_ENGINES", {"cpu": {"numpy": peak._numpy}})
        MatrixProduct("fp16", size=8).load()


def test_a_real_product() -> None:
    product = MatrixProduct("fp32", size=64)
    product.load()
    assert 0 < product.call()["product"] < 1
    assert product.operations == 2 * 64**3

"""The load's report, and the client that reads every form of an answer; the runs themselves take minutes."""

from __future__ import annotations

import socket

import pytest

from benchmarks.serving.client import Told
from benchmarks.serving.hostile import sentence
from benchmarks.serving.load import missed
from benchmarks.serving.requests import NONE, Answer, read_answer
from benchmarks.serving.sizing import sizing


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Answer("200", b"ok")),
        (
            b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            Answer("400", b"abc"),
        ),
        (b"HTTP/1.1 413 Large\r\nConnection: close\r\n\r\nto the end", Answer("413", b"to the end")),
        (b"", NONE),
    ],
)
def test_every_form_of_an_answer_is_read(sent: bytes, answer: Answer) -> None:
    one, other = socket.socketpair()
    with one, other:
        other.sendall(sent)
        other.shutdown(socket.SHUT_WR)
        assert read_answer(one) == answer


def test_half_an_answer_is_damaged() -> None:
    one, other = socket.socketpair()
    with one, other:
        other.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok")
        other.shutdown(socket.SHUT_WR)
        assert read_answer(one).status == "damaged"


def test_an_error_has_a_sentence() -> None:
    assert sentence(b'{"detail": "a word is too long"}') == "a word is too long"
    assert sentence(b'{"error": "no tensor"}') == "no tensor"
    for silent in (b"", b"Internal Server Error", b"[]", b'{"detail": []}', b'{"detail": ""}'):
        assert not sentence(silent)


def test_targets() -> None:
    server = {"healthz_p99_ms": 99.0, "growth_mib": 1.0}
    fine = {"server": server, "litserve": {"healthz_p99_ms": 900.0}, "ratio_cpu": 1.08, "ratio_throughput": 0.95}
    assert missed(fine) == []
    assert missed({"ratio_throughput": 0.9}) == ["ratio_throughput is 0.9, and at least 0.95 was wanted"]
    assert missed({"sigterm": {"lost": 1}}) == ["lost is 1, and at most 0.0 was wanted"]
    assert missed({"server": {"growth_mib": None}}), "what was not measured is not reached"


def test_the_guides_figures_are_the_reports() -> None:
    server = {
        "answers_per_s": 40.04, "cpu_s_per_answer": 0.0501, "client_cpu_share": 0.2, "answer_p50_ms": 1500.0,
        "answer_p99_ms": 1700.0, "healthz_p99_ms": 45.0, "growth_mib": 0.5,
        "memory_mib": {"after_1_connection": 300.0, "peak": 363.0},
    }  # fmt: skip
    report = {
        "machine": {"cores": 2}, "asked": {"image": "JPEG", "words": ["a"], "connections": 64, "seconds": 180.0},
        "in_process": {"calls_per_s": 41.0, "cpu_s_per_call": 0.049}, "server": server, "litserve": None,
        "queue_of_4": {"statuses": {"200": 3, "503": 1234}, "refused_p50_ms": 2.0, "refused_p99_ms": 9.0},
        "sigterm": {"lost": 0, "statuses": {"200": 5}}, "restart_s": 1.94, "missed": [],
    }  # fmt: skip
    text = sizing(report)
    assert "| `clsclip-serve` | 40.0 | 50.1 | 1500 | 1700 | 45 | 363 |" in text
    assert "A core gives 25 answers a second" in text and "1.0 MiB more for each" in text
    assert "1,234 requests were refused" in text and "LitServe" not in text and "Missed" not in text
    assert "| LitServe" in sizing(report | {"litserve": server})
    assert "too slow" in sizing(report | {"missed": ["too slow"]})


def test_percentiles() -> None:
    told = Told({"200": [0.001 * at for at in range(101)]}, seconds=10.0)
    assert (told.percentile("200", 0.99), told.percentile("503", 0.5), told.per_s) == (99.0, None, 10.1)

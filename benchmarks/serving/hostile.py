"""Hostile clients against a real server: whatever they send, it answers with a status and a sentence, and lives.

    python -m benchmarks.serving.hostile --count 10000 --out build/hostile.json

Counted are answers by status, those without a sentence, requests without an answer, and what is left behind in memory,
threads and open files. The exit code is 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import socket
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.serving.server import Served
from clsclip_runtime.images import open_image

PICTURE = Path(__file__).parents[2] / "examples" / "cluttered.png"
ANSWER_S = 240.0
GROWTH_MIB = 64.0
WORDS_MIB = 600.0


def jpeg(side: int) -> bytes:
    file = io.BytesIO()
    open_image(PICTURE).image.resize((side, side)).save(file, "JPEG")
    return file.getvalue()


def form(image: bytes, classes: list[str], options: str = "{}") -> tuple[str, bytes]:
    edge = "x-edge-x"
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="classes"\r\n\r\n{one}\r\n'.encode() for one in classes]
    parts.append(f'--{edge}\r\nContent-Disposition: form-data; name="options"\r\n\r\n{options}\r\n'.encode())
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
    body = b"".join(parts) + head + image + f"\r\n--{edge}--\r\n".encode()
    return f"multipart/form-data; boundary={edge}", body


def message(path: str, kind: str, body: bytes, *, length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n"
    return head.encode() + more.encode() + b"\r\n" + body


def exchange(served: Served, sent: bytes, *, half: bool = False) -> bytes:
    """What is answered to bytes; ``half`` says that no more will come."""
    with socket.create_connection((served.host, served.port), ANSWER_S) as one:
        try:
            one.sendall(sent)
            if half:
                one.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused while it was sent: the answer may be there all the same
        answer = b""
        while part := one.recv(1 << 16):
            answer += part
        return answer


def mutated(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(max(1, len(data)))
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 64)))
        elif kind == 2:
            del data[at : at + chance.randint(1, 200)]
        elif kind == 3:
            data[at : at + 4] = chance.choice([b"\x00" * 4, b"\xff" * 4, b"\r\n\r\n", b"NaN,", b"1e99", b"[[[["])
        else:
            data = data[:at]
    return bytes(data)


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(10_000_000), 9)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class Campaign:
    """Runs the kinds of attacks, and counts."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.statuses: dict[str, Counter[str]] = {}
        self.faults: list[str] = []

    def count(self, kind: str, answer: bytes, *, may_be_silent: bool = False) -> None:
        found = self.statuses.setdefault(kind, Counter())
        if not answer:
            found["none"] += 1
            if not may_be_silent:
                self.faults.append(f"{kind}: no answer")
            return
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head[9:12].decode("ascii", "replace")
        found[status] += 1
        sentence = b'"detail"' in body or body.strip().startswith(b"Invalid HTTP request")
        if status in ("500", "502") or not status.isdigit():
            self.faults.append(f"{kind}: {answer[:300]!r}")
        elif not status.startswith("2") and not sentence:
            self.faults.append(f"{kind}: {status} without a sentence: {body[:200]!r}")

    def run(self, kind: str, send: Callable[[], bytes], *, may_be_silent: bool = False) -> None:
        try:
            answer = send()
        except OSError as error:
            self.statuses.setdefault(kind, Counter())[type(error).__name__] += 1
            if not may_be_silent:
                self.faults.append(f"{kind}: {error!r}")
            return
        self.count(kind, answer, may_be_silent=may_be_silent)

    def mutations(self, count: int, seed: int) -> None:
        picture = jpeg(96)
        edge, good = form(picture, ["dog", "boat"])
        document = json.dumps(
            {"image": {"type": "id", "value": "0" * 64}, "classes": ["dog"], "zoom_in": True}
        ).encode()
        studio = json.dumps({"tasks": [{"id": 1, "data": {"image": "/a"}}], "label_config": "<View/>"}).encode()

        def one(number: int) -> None:
            chance = random.Random(seed + number)
            which = number % 4
            if which == 0:
                sent = message("/v1/segment", edge, mutated(good, chance))
            elif which == 1:
                sent = message("/v1/segment", edge, form(mutated(picture, chance), ["dog"])[1])
            elif which == 2:
                sent = message("/v1/segment", "application/json", mutated(document, chance))
            else:
                sent = message("/label-studio/predict", "application/json", mutated(studio, chance))
            self.run("mutated", lambda: exchange(self.served, sent))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, range(count)))

    def shapes(self) -> None:
        """Requests of wrong forms."""
        edge, good = form(jpeg(96), ["dog"])
        served = self.served
        many = "classes=" + "&classes=".join(["dog"] * 10_000)
        cases = {
            "bomb": message("/v1/segment", edge, form(bomb(), ["dog"])[1]),
            "10,000 words": message("/v1/segment", edge, form(jpeg(96), ["dog"] * 10_000)[1]),
            "10,000 words in a form": message("/v1/segment", "application/x-www-form-urlencoded", many.encode()),
            "10,000 words in JSON": message("/v1/segment", "application/json", json.dumps(
                {"image": {"type": "id", "value": "0"}, "classes": ["dog"] * 10_000}).encode()),
            "deep JSON": message("/v1/segment", "application/json", b"[" * 1_000_000),
            "deep JSON in a form": message("/v1/segment", edge, form(jpeg(96), ["dog"], "[" * 100_000)[1]),
            "deep XML": message("/label-studio/setup", "application/json", json.dumps(
                {"schema": "<a>" * 300_000}).encode()),
            "many entities": message("/label-studio/setup", "application/json", json.dumps(
                {"schema": '<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'}).encode()),
            "header flood": message("/v1/segment", edge, good, more="X-A: b\r\n" * 20_000),
            "one long header": message("/v1/segment", edge, good, more="X-A: " + "b" * 1_000_000 + "\r\n"),
            "too large": message("/v1/segment", edge, bytes(25_000_000)),
            "too large, announced": message("/v1/segment", edge, b"x", length=10**12),
            "length that is no number": b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            "negative length": b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
            "two lengths": message("/v1/segment", edge, good, more="Content-Length: 3\r\n"),
            "length and chunks": message("/v1/segment", edge, good, more="Transfer-Encoding: chunked\r\n"),
            "bad chunks": b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
        }  # fmt: skip
        for name, sent in cases.items():
            # A megabyte of a head is refused before it is read: the answer may be lost with the rest.
            silent = name in ("header flood", "one long header", "too large")
            self.run(name, lambda sent=sent: exchange(served, sent), may_be_silent=silent)  # type: ignore[misc]
        self.run("half a body", lambda: exchange(served, message("/v1/segment", edge, good[:100], length=len(good)),
                                                 half=True), may_be_silent=True)  # fmt: skip

    def slow(self, connections: int) -> None:
        """Half-open uploads, a byte a second, and clients that leave; others are served all the while."""
        edge, good = form(jpeg(96), ["dog"])
        sent = message("/v1/segment", edge, good)
        held = [socket.create_connection((self.served.host, self.served.port), ANSWER_S) for _ in range(connections)]
        for number, one in enumerate(held):
            one.sendall(sent[: (0, 20, 200, len(sent) - 1)[number % 4]])
        for _ in range(5):
            for one in held[2::4]:
                one.sendall(b"a")
            self.run("beside slow ones", lambda: exchange(self.served, sent))
            time.sleep(1)
        for number, one in enumerate(held):
            if number % 2:
                one.close()
                continue
            try:
                answer = b""
                while part := one.recv(1 << 16):
                    answer += part
            except OSError:
                answer = b""
            self.count("slow", answer)
            one.close()

    def leavers(self, count: int) -> None:
        """Clients that go away while they wait."""
        edge, good = form(jpeg(512), ["dog", "boat", "fish"])
        for _ in range(count):
            with socket.create_connection((self.served.host, self.served.port), ANSWER_S) as one:
                one.sendall(message("/v1/segment", edge, good))
        self.run("after leavers", lambda: exchange(self.served, message("/v1/segment", edge, good)))


def many_words(served: Served) -> float:
    """MiB above idle at the peak of 100 words on a picture of 12 megapixels."""
    idle = served.memory_mib
    file = io.BytesIO()
    open_image(PICTURE).image.resize((4000, 3000)).save(file, "JPEG")
    words = [f"{kind} {thing}" for kind in ("big", "red", "small", "old") for thing in THINGS.split()]
    kind, body = form(file.getvalue(), words, '{"presence_threshold": 0}')
    answer = exchange(served, message("/v1/segment", kind, body))
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert len(document["classes"]) == 100, answer[:300]
    return served.peak_mib - idle


THINGS = """dog boat fish cat car bus bird tree cup key hat shoe ball apple horse snake pizza chair book clock train
plane sheep bottle guitar"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="mutated requests")
    parser.add_argument("--slow", type=int, default=40, help="slow connections")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--backend", default="onnxruntime-cpu")
    asked = parser.parse_args()
    with Served("--backend", asked.backend, "--upload-timeout", "15", "--images-mb", "0") as served:
        campaign = Campaign(served)
        edge, good = form(jpeg(96), ["dog"])
        for _ in range(20):
            campaign.run("honest", lambda: exchange(served, message("/v1/segment", edge, good)))
        report: dict[str, Any] = {"many_words_mib": round(many_words(served), 1)}
        before = served.memory_mib, served.threads, served.files
        campaign.shapes()
        campaign.slow(asked.slow)
        campaign.leavers(asked.slow)
        campaign.mutations(asked.count, asked.seed)
        time.sleep(12)
        campaign.run("honest", lambda: exchange(served, message("/v1/segment", edge, good)))
        after = served.memory_mib, served.threads, served.files
        report |= {
            "statuses": {kind: dict(found) for kind, found in campaign.statuses.items()},
            "memory_mib": [round(before[0], 1), round(after[0], 1)],
            "threads": [before[1], after[1]],
            "files": [before[2], after[2]],
            "alive": served.alive,
        }
    if report["many_words_mib"] > WORDS_MIB:
        campaign.faults.append(f"100 words took {report['many_words_mib']} MiB above idle")
    if after[0] - before[0] > GROWTH_MIB or after[1] > before[1] + 8 or after[2] > before[2] + 2 or not report["alive"]:
        campaign.faults.append("memory, threads or files grew")
    report["faults"] = campaign.faults[:50]
    text = json.dumps(report, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text + "\n")
    return 1 if campaign.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())

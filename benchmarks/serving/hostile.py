"""Hostile clients against a real server: whatever they send, it answers with a status and a sentence, and lives.

    python -m benchmarks.serving.hostile --count 10000 --out build/hostile.json

Counted are answers by status, those without a sentence, requests without an answer, and what is left behind in memory,
threads and open files. The exit code is 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import base64
import gzip
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

from benchmarks.serving.requests import ANSWER_S, NONE, Answer, exchange, form, jpeg, message, read_answer
from benchmarks.serving.server import Served
from benchmarks.serving.words import WORDS_MIB, many_words

GROWTH_MIB = 64.0
WARM = 200
POOL = 40
"""Threads that Starlette makes as requests want them, and keeps."""

REST_S, REST_CPU_S = 5.0, 0.5


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


def png_bomb(side: int, more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A PNG of so many pixels a side in some kilobytes, with ``more`` chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(10_000_000), 9)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), *more, (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def gif_bomb() -> bytes:
    """A GIF of 65,535 x 65,535 pixels in some bytes."""
    size = struct.pack("<HH", 65_535, 65_535)
    return b"GIF89a" + size + b"\x80\x00\x00" + bytes(6) + b"," + bytes(4) + size + b"\x00\x02\x02D\x01\x00;"


def sentence(body: bytes) -> str:
    """What an error tells; nothing if it is silent.

    The Open Inference Protocol calls it "error".
    """
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    found = told.get("detail") or told.get("error") if isinstance(told, dict) else None
    return found if isinstance(found, str) else ""


class Campaign:
    """Runs the kinds of attacks, and counts."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.statuses: dict[str, Counter[str]] = {}
        self.faults: list[str] = []

    def count(self, kind: str, answer: Answer, *, may_be_silent: bool = False) -> None:
        self.statuses.setdefault(kind, Counter())[answer.status] += 1
        if answer == NONE:
            if not may_be_silent:
                self.faults.append(f"{kind}: no answer")
        elif answer.status in ("500", "502", "damaged"):
            self.faults.append(f"{kind}: {answer.status}: {answer.body[:300]!r}")
        elif not answer.status.startswith("2") and not sentence(answer.body):
            self.faults.append(f"{kind}: {answer.status} without a sentence: {answer.body[:200]!r}")

    def run(self, kind: str, send: Callable[[], Answer], *, may_be_silent: bool = False) -> None:
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

        tensors = json.dumps({"inputs": [
            {"name": "IMAGE", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]},
            {"name": "CLASSES", "datatype": "BYTES", "shape": [1, 1], "data": ["dog"]},
        ]}).encode()  # fmt: skip
        kinds: list[Callable[[random.Random], bytes]] = [
            lambda chance: message("/v1/segment", edge, mutated(good, chance)),
            lambda chance: message("/v1/segment", edge, form(mutated(picture, chance), ["dog"])[1]),
            lambda chance: message("/v1/segment", "application/json", mutated(document, chance)),
            lambda chance: message("/label-studio/predict", "application/json", mutated(studio, chance)),
            lambda chance: message("/v1/images", "application/octet-stream", mutated(picture, chance)),
            lambda chance: message("/v2/models/clsclip/infer", "application/json", mutated(tensors, chance)),
            lambda chance: message(f"/v1/images/{'0' * 64}/segment", "application/json", mutated(document, chance)),
        ]

        def one(number: int) -> None:
            chance = random.Random(seed + number)
            if number % 20 == 0:  # a head that ends too early is waited for
                head, _, body = message("/v1/segment", edge, good).partition(b"\r\n\r\n")
                sent = mutated(head, chance) + b"\r\n\r\n" + body
                self.run("mutated head", lambda: exchange(self.served, sent))
                return
            sent = kinds[number % len(kinds)](chance)
            self.run("mutated body", lambda: exchange(self.served, sent))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, range(count)))

    def shapes(self) -> None:
        """Requests of wrong forms."""
        edge, good = form(jpeg(96), ["dog"])
        served = self.served
        zeros = zlib.compress(bytes(200_000_000), 9)
        zipped, profile = ((b"zTXt", b"a\0\0" + zeros),), ((b"iCCP", b"a\0\0" + zeros),)
        inline = base64.b64encode(jpeg(96)).decode()
        many = "classes=" + "&classes=".join(["dog"] * 10_000)
        cases = {
            "bomb": message("/v1/segment", edge, form(png_bomb(60_000), ["dog"])[1]),
            "bomb of text": message("/v1/segment", edge, form(png_bomb(100, zipped), ["dog"])[1]),
            "bomb of a profile": message("/v1/segment", edge, form(png_bomb(100, profile), ["dog"])[1]),
            "bomb of a GIF": message("/v1/segment", edge, form(gif_bomb(), ["dog"])[1]),
            "kept bomb": message("/v1/images", "application/octet-stream", png_bomb(60_000)),
            "bomb in gzip": message("/v1/segment", edge, gzip.compress(bytes(10_000_000)),
                                    more="Content-Encoding: gzip\r\n"),
            "long words": message("/v1/segment", edge, form(jpeg(96), ["x" * 100_000] * 20)[1]),
            "many parts": message("/v1/segment", edge, form(jpeg(96), [""] * 100_000)[1]),
            "a number of 100,000 digits": message("/v1/segment", edge, form(
                jpeg(96), ["dog"], '{"max_side": ' + "9" * 100_000 + "}")[1]),
            "many regions": message("/v1/segment", edge, form(jpeg(96), ["dog"], json.dumps(
                {"regions": [[0, 0, 9, 9]] * 100_000}))[1]),
            "10,000 words": message("/v1/segment", edge, form(jpeg(96), ["dog"] * 10_000)[1]),
            "10,000 words in a form": message("/v1/segment", "application/x-www-form-urlencoded", many.encode()),
            "10,000 words in JSON": message("/v1/segment", "application/json", json.dumps(
                {"image": {"type": "base64", "value": inline}, "classes": [str(at) for at in range(10_000)]}).encode()),
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
            "too short a body": message("/v1/segment", edge, good, length=len(good) - 50),
            "too long a body": message("/v1/segment", edge, good + b"GET /healthz HTTP/1.1\r\n\r\n", length=len(good)),
            "bad chunks": b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
        }  # fmt: skip
        for name, sent in cases.items():
            self.run(name, lambda sent=sent: exchange(served, sent))  # type: ignore[misc]
        self.run("half a body", lambda: exchange(served, message("/v1/segment", edge, good[:100], length=len(good)),
                                                 half=True))  # fmt: skip

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
                one.close()  # half of them just go
                continue
            with one:
                self.run("slow", lambda one=one: read_answer(one))  # type: ignore[misc]

    def leavers(self, count: int) -> None:
        """Clients that go away while they wait in the queue, in the middle of a body, or with a reset."""
        edge, good = form(jpeg(512), ["dog", "boat", "fish"])
        sent = message("/v1/segment", edge, good)
        for number in range(count):
            with socket.create_connection((self.served.host, self.served.port), ANSWER_S) as one:
                if number % 2:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.sendall(sent if number % 4 < 2 else sent[: len(sent) // 2])
        self.run("after leavers", lambda: exchange(self.served, sent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="mutated requests")
    parser.add_argument("--slow", type=int, default=40, help="slow connections")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--backend", default="onnxruntime-cpu")
    asked = parser.parse_args()
    options = ("--backend", asked.backend, "--upload-timeout", "15", "--images-mb", "0")
    with Served(*options) as served:
        report: dict[str, Any] = {"many_words_mib": round(many_words(served), 1)}
    with Served(*options) as served:
        campaign = Campaign(served)
        edge, good = form(jpeg(96), ["dog"])
        for _ in range(20):
            campaign.run("honest", lambda: exchange(served, message("/v1/segment", edge, good)))
        # What grows with the first of each kind has grown before it is looked at.
        campaign.shapes()
        campaign.leavers(asked.slow)
        campaign.mutations(WARM, asked.seed - WARM)
        before = served.memory_mib, served.threads, served.files
        campaign.shapes()
        campaign.slow(asked.slow)
        campaign.leavers(asked.slow)
        campaign.mutations(asked.count, asked.seed)
        time.sleep(12)
        rest = served.cpu_s
        time.sleep(REST_S)
        rest = served.cpu_s - rest
        campaign.run("honest", lambda: exchange(served, message("/v1/segment", edge, good)))
        after = served.memory_mib, served.threads, served.files
        report |= {
            "statuses": {kind: dict(found) for kind, found in campaign.statuses.items()},
            "memory_mib": [round(before[0], 1), round(after[0], 1)],
            "threads": [before[1], after[1]],
            "files": [before[2], after[2]],
            "cpu_s_at_rest": round(rest, 2),
            "alive": served.alive,
        }
    if report["many_words_mib"] > WORDS_MIB:
        campaign.faults.append(f"100 words took {report['many_words_mib']} MiB above idle")
    grown = after[0] - before[0] > GROWTH_MIB or after[1] > before[1] + POOL or after[2] > before[2] + 2
    if grown or rest > REST_CPU_S or not report["alive"]:
        campaign.faults.append("memory, threads or files grew, or it computes when nobody asks")
    report["faults"] = campaign.faults[:50]
    text = json.dumps(report, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text + "\n")
    return 1 if campaign.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())

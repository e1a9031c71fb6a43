"""Run by an environment that has tritonclient: many requests from many clients, their answers as JSON.

python triton_load.py URL IMAGES WORDS REQUESTS CLIENTS OUT
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException


def request(client: Any, image: bytes, words: list[str]) -> dict[str, Any]:
    inputs = []
    for name, values in {"IMAGE": [image], "CLASSES": [one.encode() for one in words]}.items():
        inputs.append(InferInput(name, [1, len(values)], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([values], object))
    begun = time.perf_counter()
    try:
        found = client.infer("clsclip", inputs)
    except InferenceServerException as error:
        return {"error": error.message(), "status": error.status(), "seconds": time.perf_counter() - begun}
    return {
        "masks": [one.decode() for one in found.as_numpy("MASKS")[0]],
        "presence": found.as_numpy("PRESENCE")[0].tolist(),
        "size": found.as_numpy("SIZE")[0].tolist(),
        "seconds": time.perf_counter() - begun,
    }


def main() -> None:
    url, images, words, requests, clients, out = sys.argv[1:]
    files, vocabulary = sorted(Path(images).iterdir()), words.split(",")
    answers: list[Any] = [None] * int(requests)
    numbers = iter(range(len(answers)))
    lock = threading.Lock()

    def work() -> None:
        client = InferenceServerClient(url, connection_timeout=120, network_timeout=120)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            file, count = files[number % len(files)], number * 7 % 20 + 1
            asked = [vocabulary[(number + at) % len(vocabulary)] for at in range(count)]
            answers[number] = {"file": file.name, "words": asked} | request(client, file.read_bytes(), asked)

    begun = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(int(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    Path(out).write_text(json.dumps({"seconds": seconds, "answers": answers}), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Ask Triton, or clsclip-serve, for masks: pip install "tritonclient[http]"

python examples/triton_client.py photo.jpg dog "traffic light" --url 127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput


def ask(client: Any, image: bytes, classes: list[str], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Masks of classes in an image: the JSON answer of ``/v1/segment``."""
    texts = {"IMAGE": [image], "CLASSES": [one.encode() for one in classes]}
    if options is not None:
        texts["OPTIONS"] = [json.dumps(options).encode()]
    inputs = []
    for name, values in texts.items():
        inputs.append(InferInput(name, [1, len(values)], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([values], object))
    answer: dict[str, Any] = json.loads(client.infer("clsclip", inputs).as_numpy("RESULT")[0, 0])
    return answer


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("image", type=Path)
    parser.add_argument("classes", nargs="+")
    parser.add_argument("--url", default="127.0.0.1:8000")
    given = parser.parse_args()
    client = InferenceServerClient(given.url, connection_timeout=60, network_timeout=60)
    for one in ask(client, given.image.read_bytes(), given.classes)["classes"]:
        print(f"{one['name']:20} {one['status']:10} {one['area_percent']:6.2f} %  presence {one['presence']}")


if __name__ == "__main__":
    main()

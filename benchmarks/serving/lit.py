"""LitServe with the same Segmenter and the same answers: ``python -m benchmarks.serving.lit PORT``.

It asks for an environment with litserve, which brings another event loop and another HTTP parser than the server has:
hence one of its own.
"""

import sys
from typing import Any

import litserve  # type: ignore[import-not-found]
from fastapi import Request

from clsclip_runtime import Segmenter
from clsclip_serve.answers import document
from clsclip_serve.asked import Options


class Api(litserve.LitAPI):  # type: ignore[misc]
    """A form with ``image`` and ``classes`` in; JSON out."""

    def setup(self, device: str) -> None:
        self.segmenter = Segmenter.load(backend="onnxruntime-cpu")

    def decode_request(self, request: Request) -> tuple[bytes, list[str]]:
        form: Any = request  # what LitServe hands over to who asks for a request
        return form["image"].file.read(), form.getlist("classes")

    def predict(self, asked: tuple[bytes, list[str]]) -> Any:
        return self.segmenter(*asked)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return document(output, Options(), "req", 0)


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/v1/segment"), accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")

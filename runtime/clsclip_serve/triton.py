"""Models of Triton's Python backend: the whole runtime in one, or a front of models that Triton itself runs.

``clsclip-export --triton`` writes the repositories whose ``model.py`` imports from here. A request that is wrong fails
alone; requests with different numbers of words share an execution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from clsclip_runtime.arrays import Arrays, to_host
from clsclip_runtime.bundle import Bundle
from clsclip_runtime.documents import parse_json
from clsclip_runtime.errors import BackendError, ClsclipRuntimeError, one_line
from clsclip_runtime.limits import Limits
from clsclip_runtime.protocols import GraphFile
from clsclip_runtime.segmenter import Segmenter
from clsclip_serve.problems import as_problem
from clsclip_serve.tensors import OUTPUTS, Question, outputs, questions
from clsclip_serve.together import together

BUNDLE = "bundle.clsclip"
"""Folder beside ``model.py``."""

ENCODERS = ("image_encoder", "stem", "text_encoder")
"""Graphs whose models Triton batches."""


class TritonGraph:
    """A model of Triton as a graph: requests by its business logic scripting (BLS)."""

    def __init__(self, model: str, inputs: tuple[str, ...], outputs: tuple[str, ...], most: int | None) -> None:
        """``most`` rows go into a request; None for any number."""
        self._model, self.inputs, self.outputs, self._most = model, inputs, outputs, most
        self._utils: Any = import_module("triton_python_backend_utils")

    def run(self, feeds: Arrays) -> dict[str, Any]:
        """Run once. BackendError when the model fails."""
        arrays = {name: np.ascontiguousarray(to_host(feeds[name])) for name in self.inputs}
        rows = len(next(iter(arrays.values())))
        if self._most is None:  # axes of pairs, images and words in one call
            return self._ask(arrays)
        step = self._most
        parts = [self._ask({k: v[at : at + step] for k, v in arrays.items()}) for at in range(0, rows, step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}

    def _ask(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        tensors = [self._utils.Tensor(name, array) for name, array in arrays.items()]
        request = self._utils.InferenceRequest(
            model_name=self._model, requested_output_names=list(self.outputs), inputs=tensors
        )
        answer = request.exec()
        if answer.has_error():
            raise BackendError(f"Triton's model {self._model} failed: {one_line(answer.error().message())}")
        found = {}
        for name in self.outputs:
            tensor = self._utils.get_output_tensor_by_name(answer, name)
            found[name] = tensor.as_numpy() if tensor.is_cpu() else self._from_device(tensor)
        return found

    @staticmethod
    def _from_device(tensor: Any) -> Any:
        raise BackendError("the tensor is on a GPU. Add FORCE_CPU_ONLY_INPUT_TENSORS to the front's config.pbtxt")


class TritonBackend:
    """Loads nothing: the graphs of a bundle are models of Triton with its names, ``clsclip_trunk`` and others."""

    name = "triton"

    def __init__(self, bundle: Bundle, prefix: str, most: int) -> None:
        """``most`` is the encoders' ``max_batch_size``."""
        self._bundle, self._prefix, self._most = bundle, prefix, most

    def load(self, file: GraphFile) -> TritonGraph:
        """The model of a graph."""
        stem, signature = file.path.stem, self._bundle.signature(file.path.name)
        inputs, outputs = ([one.name for one in side] for side in (signature.inputs, signature.outputs))
        most = self._most if stem in ENCODERS else None
        return TritonGraph(f"{self._prefix}_{stem}", tuple(inputs), tuple(outputs), most)


class RuntimeModel:
    """The runtime inside one model: ``TritonPythonModel`` of the layout ``python``."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the bundle beside ``model.py``."""
        self._utils: Any = import_module("triton_python_backend_utils")
        config = parse_json(args["model_config"])
        self._name = args["model_name"]
        self._parameters = {key: one["string_value"] for key, one in config.get("parameters", {}).items()}
        self._segmenter = self._load(Path(args["model_repository"], args["model_version"], BUNDLE), args)

    def _load(self, folder: Path, args: Mapping[str, str]) -> Segmenter:
        threads = self._parameters.get("threads")
        return Segmenter.load(
            folder, self._parameters.get("backend", "auto"), threads=int(threads) if threads else None, word_cache=False
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests, each by itself where it is wrong; whatever happens, the process lives."""
        asked = [self._asked(request) for request in requests]
        groups: dict[Any, list[tuple[int, Question]]] = {}
        for at, found in enumerate(asked):
            for question in found if isinstance(found, list) else ():
                key = (question.options.of_call(), None if question.options.regions is None else id(question))
                groups.setdefault(key, []).append((at, question))
        answers: list[list[Any]] = [[] for _ in requests]
        for group in groups.values():
            for (at, question), result in zip(group, self._results([one for _, one in group]), strict=True):
                answers[at].append((question, result))
        return [
            self._response(requests[at], found if isinstance(found, Exception) else answers[at])
            for at, found in enumerate(asked)
        ]

    def finalize(self) -> None:
        """Let go of the model."""
        self._segmenter.close()

    def _asked(self, request: Any) -> list[Question] | Exception:
        try:
            given = {one.name(): one.as_numpy() for one in request.inputs()}
            return questions(given)
        except Exception as error:
            return error

    def _results(self, group: Sequence[Question]) -> list[Any]:
        """Results, or errors, of questions with the same options."""
        options = dict(group[0].options.of_call())
        if group[0].options.regions is not None:
            options["regions"] = group[0].options.boxes()
        images, classes = [one.image for one in group], [one.classes for one in group]
        batch = partial(self._segmenter.batch, images, classes, return_errors=True, **options)
        return together(batch, [partial(self._segmenter, one.image, one.classes, **options) for one in group])

    def _response(self, request: Any, found: Any) -> Any:
        try:
            if isinstance(found, Exception):
                raise found
            parts = []
            for question, result in found:
                if isinstance(result, Exception):
                    raise result
                parts.append(outputs(result, question.options, request.request_id(), 0.0))
            together = {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}
            return self._utils.InferenceResponse([self._utils.Tensor(name, one) for name, one in together.items()])
        except Exception as error:
            known = as_problem(error)
            kind = self._utils.TritonError.INVALID_ARG if known.status < 500 else self._utils.TritonError.INTERNAL
            detail = known.detail if isinstance(error, ClsclipRuntimeError) or known.status < 500 else one_line(error)
            return self._utils.InferenceResponse(error=self._utils.TritonError(detail, kind))


class FrontModel(RuntimeModel):
    """The same in front of models that run the graphs: ``TritonPythonModel`` of the layout ``graphs``."""

    def _load(self, folder: Path, args: Mapping[str, str]) -> Segmenter:
        bundle = Bundle.open(folder)
        most = int(self._parameters.get("encoder_batch", "8"))
        pairs = self._parameters.get("pairs_per_call")
        limits = Limits(pairs_per_call=int(pairs) if pairs else None)
        return Segmenter(bundle, TritonBackend(bundle, args["model_name"], most), limits=limits, word_cache=False)

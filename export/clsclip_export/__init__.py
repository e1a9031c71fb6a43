"""From a checkpoint to a bundle: ONNX graphs, parity against PyTorch, manifest."""

from __future__ import annotations

from clsclip_runtime.libraries import be_quiet

be_quiet()  # before ONNX Runtime is imported, anywhere here

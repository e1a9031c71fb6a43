"""Extras of the installation: which one brings a module, and the command that installs it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from clsclip_runtime.documents import parse_json
from clsclip_runtime.libraries import installed
from clsclip_runtime.paths import is_file

MODULES = {
    "av": ("video",),
    "fastapi": ("serve",),
    "fsspec": ("scale",),
    "huggingface_hub": ("hub",),
    "matplotlib": ("bench", "train"),
    "ml_dtypes": ("export",),
    "onnx": ("export", "detect"),
    "onnxscript": ("export",),
    "open_clip": ("train", "export"),
    "openvino": ("openvino",),
    "pi_heif": ("heic",),
    "prometheus_client": ("serve",),
    "pyarrow": ("scale",),
    "ray": ("ray",),
    "resvg_py": ("train",),
    "starlette": ("serve",),
    "uvicorn": ("serve",),
    "skimage": ("train", "export"),
    "torch": ("train", "export"),
    "torchvision": ("train", "export"),
    "transformers": ("peers",),
    "ultralytics": ("detect",),
}
"""Modules that are no part of a plain installation, and the extras that bring them."""


def extra_of(module: str, usual: str | None = None) -> str | None:
    """The extra that brings a module.

    Args:
        module: as imported, such as ``torch.nn``.
        usual: the extra of the program that needs it, taken where it brings the module.

    Returns:
        Its name, or None where no extra brings the module.
    """
    extras = MODULES.get(module.partition(".")[0], ())
    return usual if usual in extras else next(iter(extras), None)


def install_command(extra: str) -> str:
    """The command that adds an extra to this installation, as it is to be typed here.

    It names the folder that clsclip was installed from, or runs in, as long as that exists. Else it names clsclip
    itself: pip finds the extras of what is installed without any index.
    """
    folder, editable, recorded = _origin()
    if folder is not None:
        return f"{_pip()} install {'--editable ' if editable else ''}'{_shown(folder)}[{extra}]'"
    if recorded:
        return f"{_pip()} install 'clsclip[{extra}]'"
    # No index has clsclip: its name alone would bring nothing, or something else.
    return f"cd SOURCE_OF_CLSCLIP && {_pip()} install '.[{extra}]'"


def gpu_command() -> str:
    """The command after which ONNX Runtime runs on a GPU.

    pip cannot take a requirement of the base away for an extra, and ``onnxruntime`` and ``onnxruntime-gpu`` write into
    one folder: the one has to go before the other comes.
    """
    pip = _pip()
    command = f"{install_command('gpu')} && {pip} uninstall -y onnxruntime && {pip} install --no-deps onnxruntime-gpu"
    # What is recorded as installed would not be installed again, though its files have gone.
    return f"{pip} uninstall -y onnxruntime-gpu && {command}" if installed("onnxruntime-gpu") else command


def onnxruntime_command() -> str:
    """The command that brings ONNX Runtime back, in the edition that is recorded here."""
    if installed("onnxruntime-gpu"):
        return gpu_command()
    return f"{_pip()} install {'--force-reinstall --no-deps ' if installed('onnxruntime') else ''}onnxruntime"


def upgrade_advice() -> str:
    """What to do where something needs a newer clsclip; no index has it, so its source is named."""
    folder, editable, _ = _origin()
    if folder is None:
        return "Upgrade clsclip: in the folder of its newest source, run pip install ."
    command = f"{_pip()} install {'--editable ' if editable else ''}'{_shown(folder)}'"
    return f"Upgrade clsclip: get its newest source into {folder}, then run {command}"


def _shown(folder: Path) -> str:
    return "." if Path.cwd() == folder else str(folder)


def _pip() -> str:
    """``pip`` where that is this Python's own."""
    found = shutil.which("pip")
    own = found is not None and Path(found).parent == Path(sys.executable).parent
    return "pip" if own else f"{sys.executable} -m pip"


def _origin() -> tuple[Path | None, bool, bool]:
    """Where clsclip comes from.

    Returns:
        The folder of its source, if it is still there; whether it is used in place; and whether pip knows it.
    """
    # Imported only here: they bring modules of the network, which take longer than reading a small model.
    from importlib.metadata import distributions
    from urllib.request import url2pathname

    recorded = False
    for found in distributions(name="clsclip"):
        recorded = True
        try:
            origin = parse_json(found.read_text("direct_url.json") or "{}")
            url = urlsplit(origin.get("url", ""))
            folder = Path(url2pathname(url.path))
            if url.scheme == "file" and is_file(folder / "setup.cfg"):
                return folder, bool(origin.get("dir_info", {}).get("editable")), True
        except (OSError, ValueError, AttributeError):
            continue
    checkout = Path(__file__).parents[2]
    in_place = not recorded and is_file(checkout / "setup.cfg")
    return (checkout, True, False) if in_place else (None, False, recorded)

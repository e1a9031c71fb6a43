"""Extras of the installation: which one brings a module, and the command that installs it."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from clsclip_runtime.documents import parse_json
from clsclip_runtime.paths import is_file

MODULES = {
    "av": ("video",),
    "matplotlib": ("bench", "train"),
    "ml_dtypes": ("export",),
    "onnx": ("export", "detect"),
    "onnxscript": ("export",),
    "open_clip": ("train", "export"),
    "openvino": ("openvino",),
    "pi_heif": ("heic",),
    "resvg_py": ("train",),
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

    It names the folder that clsclip was installed from, as long as that exists. Else it names clsclip itself: pip finds
    the extras of what is installed without any index.
    """
    folder, editable = _origin()
    if folder is None:
        what = f"clsclip[{extra}]"
    else:
        here = Path.cwd() == folder
        what = f"{'.' if here else folder}[{extra}]"
    return f"{_pip()} install {'--editable ' if editable else ''}'{what}'"


def _pip() -> str:
    """``pip`` where that is this Python's own."""
    found = shutil.which("pip")
    own = found is not None and Path(found).parent == Path(sys.executable).parent
    return "pip" if own else f"{sys.executable} -m pip"


def _origin() -> tuple[Path | None, bool]:
    """The folder that clsclip was installed from, if it is still there, and whether it is used in place."""
    for found in distributions(name="clsclip"):
        try:
            origin = parse_json(found.read_text("direct_url.json") or "{}")
            url = urlsplit(origin.get("url", ""))
            folder = Path(url2pathname(url.path))
            if url.scheme == "file" and is_file(folder / "setup.cfg"):
                return folder, bool(origin.get("dir_info", {}).get("editable"))
        except (OSError, ValueError, AttributeError):
            continue
    return None, False

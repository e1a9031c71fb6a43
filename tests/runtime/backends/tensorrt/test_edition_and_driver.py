"""Which TensorRT and which GPU: found, missing, too old, broken."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from clsclip_runtime.backends.cuda import driver as gpu
from clsclip_runtime.backends.cuda.driver import Driver, Gpu, ask_driver
from clsclip_runtime.backends.tensorrt import edition as flavour_module
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition, find_edition, version_numbers
from clsclip_runtime.backends.tensorrt.engine_files import this_machine
from clsclip_runtime.errors import BackendError, OptionError


def test_the_first_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.16.1.11"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", SimpleNamespace(__version__="1.7.1.116"))
    assert (find_edition().name, find_edition().version) == ("tensorrt", "10.16.1.11")
    assert not find_edition().builds_without_gpu
    assert find_edition("tensorrt-rtx").builds_without_gpu
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert find_edition().name == "tensorrt-rtx"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BackendError, match=r"pip install tensorrt; .*pip install tensorrt-rtx-cu13"):
        find_edition()
    with pytest.raises(BackendError, match=r"NVIDIA's own index\. Run: pip install tensorrt$"):
        find_edition("tensorrt")
    with pytest.raises(OptionError, match="Choose one of: tensorrt, tensorrt-rtx"):
        find_edition("trt")


def test_too_old_and_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, fine in (("10.11.9.9", False), ("10.12.0", True), ("11.4.0.1", True), ("8.6.1", False)):
        monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version))
        if fine:
            assert find_edition("tensorrt").version == version
        else:
            with pytest.raises(BackendError, match=rf"{version} is too old: 10\.12 or newer.*pip install --upgrade"):
                find_edition("tensorrt")

    def broken(name: str) -> Any:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(flavour_module, "import_module", broken)
    with pytest.raises(BackendError, match=r"cannot be loaded: libcudart\.so\.13.*--force-reinstall tensorrt$"):
        find_edition("tensorrt")


def test_version_numbers() -> None:
    assert version_numbers("10.16.1.11") == (10, 16, 1, 11)
    assert version_numbers("11.4.0rc2") == (11, 4, 0, 2)
    assert version_numbers("") == ()


class MadeUpDriver:
    """libcuda with two GPUs; ``fails`` is a call that gives an error."""

    gpus = (("NVIDIA H200", 9, 0, 141 << 30), ("NVIDIA L4", 8, 9, 24 << 30))

    def __init__(self, fails: str = "", count: int = 2) -> None:
        self._fails, self._count = fails, count

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            if name == self._fails:
                return 999
            self._answer(name, *arguments)
            return 0

        return call

    def _answer(self, name: str, *arguments: Any) -> None:
        def put(value: int) -> None:
            arguments[0]._obj.value = value

        if name == "cuDriverGetVersion":
            put(13020)
        elif name == "cuDeviceGetCount":
            put(self._count)
        elif name == "cuDeviceGet":
            put(arguments[1])
        elif name == "cuDeviceGetName":
            arguments[0].value = self.gpus[arguments[2].value][0].encode()
        elif name == "cuDeviceGetAttribute":
            put(self.gpus[arguments[2].value][1 if arguments[1] == 75 else 2])
        elif name == "cuDeviceTotalMem_v2":
            put(self.gpus[arguments[1].value][3])


def test_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: MadeUpDriver())
    gpus = (Gpu("NVIDIA H200", "9.0", 141 << 30), Gpu("NVIDIA L4", "8.9", 24 << 30))
    assert ask_driver() == Driver("13.2", gpus, None)
    machine = this_machine(TensorRtEdition("tensorrt", None, "11.4.0.1"))
    assert str(machine) == "tensorrt 11.4.0.1 on NVIDIA H200 (sm_90)"
    monkeypatch.setattr(ctypes, "CDLL", lambda name: MadeUpDriver(count=0))
    assert ask_driver().problem == "the NVIDIA driver finds no GPU"
    assert str(this_machine(TensorRtEdition("tensorrt", None, "11.4.0.1"))) == "tensorrt 11.4.0.1 on no GPU"
    monkeypatch.setattr(ctypes, "CDLL", lambda name: MadeUpDriver(fails="cuInit"))
    assert ask_driver() == Driver(None, (), "the NVIDIA driver does not answer: cuInit gave CUDA error 999")

    def missing(name: str) -> Any:
        raise OSError("no such file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert "no NVIDIA driver is installed" in str(gpu.ask_driver().problem)

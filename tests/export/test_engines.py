"""Engines that are really built, without a GPU: what they hold, when they are reused, and what can go wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from clsclip_export.cli import command as export
from clsclip_export.engines import build as build_module
from clsclip_export.engines.build import Built, build_engine, build_engines
from clsclip_export.engines.inspect import Inspection, prove_precision
from clsclip_export.engines.options import EngineOptions
from clsclip_export.engines.trt import BuildLog, build_plan
from clsclip_export.errors import EngineError, ProfileError
from clsclip_export.profiles import Profile
from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.backends.tensorrt.backend import TensorRt
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition, find_edition
from clsclip_runtime.backends.tensorrt.engine_files import Machine, plan_version, read_engine, read_plan
from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace
from clsclip_runtime.bundle.opening import IMAGE_ENCODER, PRESENCE, TEXT_ENCODER, TRUNK, Bundle
from clsclip_runtime.errors import BackendError, OutputError
from clsclip_runtime.protocols import GraphFile
from tests.export.engine_bundles import embedded_bundle, sign
from tests.runtime.backends.fakes import FakeCuda, engines_of

pytestmark = pytest.mark.usefixtures("user_cache")

pytest.importorskip("tensorrt_rtx", reason="the wheel tensorrt-rtx-cu13 is not installed (none for this platform?)")

OPTIONS = EngineOptions(Profile(crops=(1, 2, 4), classes=(1, 3, 5), pairs=(1, 6, 12)))


@pytest.fixture(scope="module")
def rtx() -> TensorRtEdition:
    return find_edition("tensorrt-rtx")


@pytest.fixture(scope="module")
def here(rtx: TensorRtEdition) -> Machine:
    return Machine(rtx.name, rtx.version, None, None)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The embedded model in FP16; engines that tests build in it stay."""
    return Bundle.open(embedded_bundle(tmp_path_factory.mktemp("engines") / "half.clsclip", "fp16"))


@pytest.fixture
def fresh(tmp_path: Path) -> Bundle:
    """The embedded model in FP32 in a folder that may be spoilt."""
    return Bundle.open(embedded_bundle(tmp_path / "fresh.clsclip"))


def go_on(phase: str, done: int, steps: int) -> bool:
    return True


def one(bundle: Bundle, graph: str, rtx: TensorRtEdition, here: Machine, options: EngineOptions = OPTIONS) -> Built:
    return build_engine(bundle, graph, rtx, here, options, go_on, EnginePlace())


def test_engines_of_the_embedded_model(half: Bundle, fresh: Bundle, rtx: TensorRtEdition, here: Machine) -> None:
    steps: list[tuple[str, int, int]] = []

    def note(phase: str, done: int, total: int) -> bool:
        steps.append((phase, done, total))
        return True

    sizes = {}
    for bundle, precision in ((fresh, "fp32"), (half, "fp16")):
        graphs = (TEXT_ENCODER, IMAGE_ENCODER, PRESENCE, TRUNK)
        built = {row.engine.spec.graph: row for row in build_engines(bundle, rtx, here, OPTIONS, progress=note)}
        assert tuple(built) == graphs
        for graph, row in built.items():
            engine = row.engine
            assert not row.reused
            assert engine.spec.precision == ("fp32" if graph == PRESENCE else precision)
            read_plan(engine, rtx.version)
            assert plan_version(engine.plan.read_bytes()[:64]) == tuple(int(part) for part in rtx.version.split("."))
            shares = engine.document["weights"]
            assert shares == {} if graph == PRESENCE else next(iter(shares)) == precision
            assert precision == "fp32" or shares.get("fp16", 1) > 0.98
            log = engine.plan.with_suffix(".log").read_text("utf-8")
            assert "Engine generation completed" in log
            assert ("Datatype: Half" in log) == (engine.spec.precision == "fp16")
        log = built[TRUNK].engine.plan.with_suffix(".log").read_text("utf-8")
        shape = "Name: stem_tokens, .*MinShape: [1,257,192], OptShape: [2,257,192], MaxShape: [4,257,192]"
        for part in shape.split(".*"):
            assert part in log, "the profile is in the engine"
        assert "MinShape: [1], OptShape: [6], MaxShape: [12]" in log
        sizes[precision] = built[TRUNK].engine.document["plan_bytes"]
    assert sizes["fp16"] < 0.7 * sizes["fp32"]
    assert {phase for phase, _, _ in steps} > {"Building engine"}
    assert all(1 <= done <= total for _, done, total in steps), steps


def test_an_engine_is_reused_and_a_stale_one_never(
    fresh: Bundle, rtx: TensorRtEdition, here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = one(fresh, PRESENCE, rtx, here)
    kept = first.engine.plan.stat().st_mtime_ns
    monkeypatch.setattr(build_module, "build_plan", lambda *args: pytest.fail("an engine that is there was built"))
    again = one(fresh, PRESENCE, rtx, here)
    assert again.reused
    assert (again.engine, again.engine.plan.stat().st_mtime_ns) == (first.engine, kept)
    monkeypatch.undo()
    keys = {first.engine.spec.key}
    for options in (
        replace(OPTIONS, profile=Profile(classes=(1, 3, 6))),
        replace(OPTIONS, tf32=True),
        replace(OPTIONS, workspace_mib=64),
        replace(OPTIONS, optimization_level=1),
    ):
        other = one(fresh, PRESENCE, rtx, here, options)
        assert not other.reused
        keys.add(other.engine.spec.key)
    assert len(keys) == 5
    newer = TensorRtEdition(rtx.name, rtx.module, "1.99.0.1")
    assert build_module.engine_spec(fresh, PRESENCE, newer, here, OPTIONS).key not in keys
    model = onnx.load(fresh.path(PRESENCE))
    model.doc_string = "another graph"
    fresh.path(PRESENCE).write_bytes(model.SerializeToString())
    sign(fresh.folder, "fp32")
    changed = Bundle.open(fresh.folder)
    assert not one(changed, PRESENCE, rtx, here).reused


def test_damaged_plans_are_told_and_built_again(fresh: Bundle, rtx: TensorRtEdition, here: Machine) -> None:
    engine = one(fresh, PRESENCE, rtx, here).engine
    good = engine.plan.read_bytes()
    engine.plan.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(BackendError, match=r"damaged: its SHA-256.*clsclip-export --from-bundle"):
        read_plan(engine)
    assert not one(fresh, PRESENCE, rtx, here).reused
    engine.plan.write_bytes(good[:1000])
    with pytest.raises(BackendError, match="damaged: 1000 bytes instead of"):
        read_plan(engine)
    assert not one(fresh, PRESENCE, rtx, here).reused
    sidecar = engine.plan.with_suffix(".json")
    document = json.loads(sidecar.read_text("utf-8"))
    document["spec"]["gpu"] = "NVIDIA Other"
    sidecar.write_text(json.dumps(document), "utf-8")
    with pytest.raises(BackendError, match="changed: its key is not the digest"):
        read_engine(sidecar)
    assert not one(fresh, PRESENCE, rtx, here).reused
    sidecar.write_text("{", "utf-8")
    assert not one(fresh, PRESENCE, rtx, here).reused


def test_a_plan_of_another_version(fresh: Bundle, rtx: TensorRtEdition, here: Machine) -> None:
    import hashlib

    engine = one(fresh, PRESENCE, rtx, here).engine
    plan = bytearray(engine.plan.read_bytes())
    plan[24:28] = bytes([1, 2, 0, 54])
    engine.plan.write_bytes(plan)
    sidecar = engine.plan.with_suffix(".json")
    document = json.loads(sidecar.read_text("utf-8")) | {"plan_sha256": hashlib.sha256(plan).hexdigest()}
    sidecar.write_text(json.dumps(document), "utf-8")
    with pytest.raises(BackendError, match=rf"built by tensorrt-rtx 1\.2\.0\.54, and {rtx.version} is needed"):
        read_plan(read_engine(sidecar))
    assert not one(fresh, PRESENCE, rtx, here).reused
    log = BuildLog(rtx)
    assert rtx.module.Runtime(log.logger).deserialize_cuda_engine(bytes(plan)) is None
    assert log.errors(), "deserialising gives None, and the reason is in the log alone"


def test_full_disk(fresh: Bundle, rtx: TensorRtEdition, here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device\. Make room"):
        one(fresh, PRESENCE, rtx, here)
    monkeypatch.undo()
    assert list(engines_of(fresh.folder).iterdir()) == [], "nothing half-written stays"
    assert not one(fresh, PRESENCE, rtx, here).reused


def test_killed_build(fresh: Bundle, rtx: TensorRtEdition, here: Machine) -> None:
    """Killed in the middle of writing the plan: the worst moment."""
    program = (
        "import os, pathlib, sys\n"
        "from clsclip_export.cli import command as export\n"
        "from clsclip_export.engines import build\n"
        "def killed(number):\n"
        "    folder = pathlib.Path(os.environ['CLSCLIP_CACHE'])\n"
        "    if list(folder.glob('engines/*/*.log')) and list(folder.glob('engines/*/.*.part.plan')):\n"  # of the plan
        "        os.kill(os.getpid(), 9)\n"
        "os.fsync = killed\n"
        "build.GRAPHS = ('presence.onnx',)\n"
        "export(sys.argv[1:], standalone_mode=False)\n"
    )
    arguments = [
        "--from-bundle",
        str(fresh.folder),
        "--engine",
        "tensorrt-rtx",
        "--crops",
        "1,2,4",
        "--classes",
        "1,3,5",
    ]
    command = [sys.executable, "-c", program, *arguments, "--pairs", "1,6,12"]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    part, log = sorted(engines_of(fresh.folder).iterdir())
    assert part.name.endswith(".part.plan"), "no plan under its own name, and no JSON"
    assert log.suffix == ".log"
    assert part.stat().st_size > 0
    assert not one(fresh, PRESENCE, rtx, here).reused
    assert not part.exists(), "nobody writes it any more"
    assert sorted(path.suffix for path in engines_of(fresh.folder).iterdir()) == [".json", ".log", ".plan"]


def test_wrong_precision_is_an_error(fresh: Bundle, rtx: TensorRtEdition, here: Machine) -> None:
    sign(fresh.folder, "fp16")
    lying = Bundle.open(fresh.folder)
    with pytest.raises(EngineError, match=r"text_encoder.onnx was to be fp16, and the build log shows 100% fp32"):
        one(lying, TEXT_ENCODER, rtx, here)
    left = [path.suffix for path in engines_of(lying.folder).iterdir()]
    assert left == [".log"], "the engine is not kept, its log is"


def test_proof_of_precision() -> None:
    prove_precision("t", "fp16", Inspection(3, {"fp16": 95, "fp32": 5}, {}, "x"))
    prove_precision("t", "fp32", Inspection(3, {}, {"fp32": 4}, "x"))
    for wanted, weights in (
        ("fp16", {"fp32": 20, "fp16": 80}),
        ("fp32", {"fp32": 99, "fp16": 1}),
        ("bf16", {"fp16": 9}),
    ):
        with pytest.raises(EngineError, match=f"was to be {wanted}"):
            prove_precision("t", wanted, Inspection(3, weights, {}, "x"))
    with pytest.raises(EngineError, match="shows none"):
        prove_precision("t", "fp32", Inspection(0, {}, {}, "x"))


def test_options_that_cannot_be(fresh: Bundle, rtx: TensorRtEdition, here: Machine) -> None:
    for name, reason in (("hardware_compatible", "means nothing"), ("version_compatible", "lean runtime")):
        with pytest.raises(EngineError, match=reason):
            one(fresh, PRESENCE, rtx, here, replace(OPTIONS, **{name: True}))
    needs_gpu = TensorRtEdition("tensorrt", rtx.module, rtx.version)
    with pytest.raises(EngineError, match=r"needs a GPU.*--engine tensorrt-rtx"):
        next(build_engines(fresh, needs_gpu, here, OPTIONS))


def test_graphs_that_cannot_be_built(rtx: TensorRtEdition, tmp_path: Path) -> None:
    def save(nodes: list[onnx.NodeProto], axis: str) -> GraphFile:
        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [axis, 2]) for name in ("x", "y")]
        model = helper.make_model(
            helper.make_graph(nodes, "g", value[:1], value[1:]),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=10,
        )
        return GraphFile.whole(tmp_path / "g.onnx", model.SerializeToString())

    unknown = [helper.make_node("NoSuchThing", ["x"], ["h"], "first"), helper.make_node("Nor", ["h"], ["y"], "second")]
    with pytest.raises(EngineError, match=r"cannot read g\.onnx: NoSuchThing first: .*; Nor second: "):
        build_plan(rtx, save(unknown, "P"), OPTIONS, BuildLog(rtx), go_on)
    plain = save([helper.make_node("Relu", ["x"], ["y"])], "batch")
    with pytest.raises(ProfileError, match="dynamic axis batch in x"):
        build_plan(rtx, plain, OPTIONS, BuildLog(rtx), go_on)
    plain = save([helper.make_node("Relu", ["x"], ["y"])], "P")
    with pytest.raises(KeyboardInterrupt):
        build_plan(rtx, plain, OPTIONS, BuildLog(rtx), lambda *step: False)
    assert build_plan(rtx, plain, OPTIONS, BuildLog(rtx), go_on)[1:4] == b"trt"


def test_command_line(half: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "GRAPHS", (PRESENCE,))
    arguments = ["--from-bundle", str(half.folder), "--engine", "tensorrt-rtx", "--pairs", "4"]
    done = CliRunner().invoke(export, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "presence.onnx      built in" in done.output
    assert "presence.onnx      reused in" in CliRunner().invoke(export, arguments, catch_exceptions=False).output
    done = CliRunner().invoke(export, [*arguments, "--json"], catch_exceptions=False)
    assert "presence.onnx      reused in" in done.stderr
    document = json.loads(done.stdout)
    assert document["bundle"] is None
    (engine,) = document["engines"]
    assert (engine["graph"], engine["reused"]) == ("presence.onnx", True)
    assert Path(engine["path"]).is_file()
    for wrong in (
        [],
        ["--from-bundle", str(half.folder)],
        [*arguments, "--out", str(tmp_path / "o")],
        [*arguments, "--fp16"],
        ["--from-bundle", str(half.folder), "--tf32"],
        ["--from-bundle", str(half.folder), "--engine", "cuda"],
        [*arguments[:-1], "8,4,2"],
    ):
        assert CliRunner().invoke(export, wrong).exit_code == 2, wrong


@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
def test_a_flavour_that_times_kernels_keeps_the_times(fresh: Bundle, rtx: TensorRtEdition) -> None:
    """TensorRT-RTX in the place of TensorRT: it has the same calls, which do nothing."""
    other = TensorRtEdition("tensorrt", rtx.module, rtx.version)
    machine = Machine("tensorrt", rtx.version, "NVIDIA H200", "9.0")
    first = one(fresh, PRESENCE, other, machine)
    assert (first.engine.spec.gpu, first.engine.spec.compute_capability) == ("NVIDIA H200", "9.0")
    times = engines_of(fresh.folder) / f"tensorrt-{rtx.version}.timings"
    assert times.stat().st_size > 0
    times.write_bytes(b"of another machine")
    assert not one(fresh, PRESENCE, other, machine, replace(OPTIONS, tf32=True)).reused
    assert times.read_bytes() != b"of another machine"
    assert one(fresh, PRESENCE, other, machine).reused


@pytest.mark.skipif(bool(ask_driver().gpus), reason="there is a GPU here")
def test_what_tensorrt_says_without_a_gpu_is_in_the_error(fresh: Bundle, rtx: TensorRtEdition, here: Machine) -> None:
    """The runtime's backend with the real TensorRT-RTX, told that there is a GPU: loading fails inside TensorRT."""
    one(fresh, PRESENCE, rtx, here)
    backend = TensorRt(rtx, cuda=FakeCuda(), machine=Machine(rtx.name, rtx.version, "NVIDIA Made Up", "12.0"))
    with pytest.raises(BackendError) as caught:
        backend.load(fresh.graph(PRESENCE))
    for part in (
        "cannot load",
        "CUDA driver version is insufficient",
        "NVIDIA Made Up (sm_120)",
        "Run: clsclip-export",
    ):
        assert part in str(caught.value)

"""The container's files, whose image is built elsewhere: what they name exists, the health check is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsclip_serve.app import create_app
from clsclip_serve.cli import command
from clsclip_serve.service import Service
from tests.serve.test_process import start

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
OPTIONS = {option for one in command.params for option in one.opts}


def test_manifests_name_what_there_is(service: Service) -> None:
    routes: set[str] = set(create_app(service).openapi()["paths"])
    deployment, _ = yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text("utf-8"))
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert container[probe]["httpGet"]["path"] in routes
    assert pod["terminationGracePeriodSeconds"] > 2 * service.options.timeout
    assert pod["securityContext"]["runAsUser"] == int(re.findall(r"--uid (\d+)", DOCKERFILE)[0])
    composed = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]["clsclip"]
    assert (ROOT / "deploy" / composed["build"]["context"] / composed["build"]["dockerfile"]).is_file()
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)", DOCKERFILE, re.M)[0])
    assert entry[0] == "clsclip-serve"
    for given in (entry, composed["command"], container["args"]):
        assert {one for one in given if one.startswith("--")} <= OPTIONS


@pytest.mark.slow
def test_the_health_check_without_curl(bundle: Path) -> None:
    program, *arguments = json.loads(re.findall(r"^HEALTHCHECK .* CMD (\[.*)", DOCKERFILE, re.M)[0])
    assert program == "python"
    process, address = start(bundle, "--backend", "onnxruntime-cpu")
    port = address.rpartition(":")[2]
    check = [sys.executable, *(one.replace(":8000/", f":{port}/") for one in arguments)]
    try:
        assert subprocess.run(check, check=False, timeout=30).returncode == 0
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert subprocess.run(check, check=False, timeout=30, capture_output=True).returncode != 0

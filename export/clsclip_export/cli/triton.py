"""Options of ``clsclip-export`` about Triton."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clsclip_export.cli.groups import option
from clsclip_export.triton import LAYOUTS, PLATFORMS, Repository

_TRITON = ("--triton",)

TRITON = (
    option(
        "--triton",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        needs=("--from-bundle",),
        help="Write the bundle as a model repository of Triton.",
    ),
    option(
        "--triton-layout",
        type=click.Choice(LAYOUTS),
        default="python",
        show_default=True,
        needs=_TRITON,
        help="The runtime in one model, or a front of models that Triton runs.",
    ),
    option(
        "--triton-platform",
        type=click.Choice(PLATFORMS),
        default="onnxruntime",
        show_default=True,
        needs=_TRITON,
        help="What runs the graphs of the layout graphs.",
    ),
    option(
        "--triton-engines",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        needs=_TRITON,
        help="Engines for --triton-platform tensorrt.",
    ),
    option("--triton-gpu", is_flag=True, needs=_TRITON, help="Models run on GPUs."),
    option(
        "--triton-environment",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        needs=_TRITON,
        help="Virtual environment that has clsclip[serve]; default: Triton's own Python.",
    ),
)


def read_repository(values: dict[str, Any]) -> Repository:
    """The repository that is asked for. click.UsageError if TensorRT has no engines, or no layout of graphs."""
    if values["triton_platform"] == "tensorrt" and (
        values["triton_layout"] != "graphs" or not values["triton_engines"]
    ):
        raise click.UsageError("--triton-platform tensorrt needs --triton-layout graphs and --triton-engines DIR.")
    environment: Path | None = values["triton_environment"]
    return Repository(
        values["triton_layout"],
        values["triton_platform"],
        values["triton_engines"],
        gpu=values["triton_gpu"],
        environment=None if environment is None else environment.absolute(),
    )

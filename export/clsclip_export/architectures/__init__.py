"""What models become as graphs: one module for each architecture, behind one interface."""

from clsclip_export.architectures.base import Architecture, Graph
from clsclip_export.architectures.known import architecture_of

__all__ = ["Architecture", "Graph", "architecture_of"]

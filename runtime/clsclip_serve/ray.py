"""ClsCLIP on Ray: ``Segment`` for Ray Data, ``app`` for Ray Serve. Extra ``ray``."""

from clsclip_serve.batch.segment import Segment
from clsclip_serve.replicas import app

__all__ = ["Segment", "app"]

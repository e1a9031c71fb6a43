"""ClsCLIP on Ray. Extra ``ray``."""

from clsclip_serve.batch.segment import Segment

__all__ = ["Segment"]

"""Pictures: anything a user has, made upright 8-bit RGB, then the encoder's input."""

from clsclip_runtime.images.arrays import check_channels
from clsclip_runtime.images.decoded import DecodedImage, Source
from clsclip_runtime.images.formats import MAX_PIXELS, MAX_SIDE, SUFFIXES
from clsclip_runtime.images.opening import image_size, open_image, open_stored, read_all
from clsclip_runtime.images.others import by_suffix, is_other
from clsclip_runtime.images.preprocessing import cropped, preprocess

__all__ = [
    "MAX_PIXELS",
    "MAX_SIDE",
    "SUFFIXES",
    "DecodedImage",
    "Source",
    "by_suffix",
    "check_channels",
    "cropped",
    "image_size",
    "is_other",
    "open_image",
    "open_stored",
    "preprocess",
    "read_all",
]

"""Results as arrays, for tests that compare many classes at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clsclip_runtime import Instance, Result


def presence_of(result: Result) -> npt.NDArray[np.float32]:
    """(K,) presence of every class; NaN where it was not asked."""
    return np.array([np.nan if one.presence is None else one.presence for one in result], np.float32)


def segmented(result: Result) -> npt.NDArray[np.bool_]:
    """(K,) which classes were segmented."""
    return np.array([one.segmented for one in result.searches], np.bool_)


def statuses(result: Result) -> tuple[str, ...]:
    """Status of every class."""
    return tuple(one.status for one in result)


def regions_of(result: Result) -> list[Instance]:
    """The regions that were segmented, one for each box and class, also those without pixels."""
    return [one for one in result.all_instances() if not one.whole_image]

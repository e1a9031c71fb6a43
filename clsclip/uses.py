"""Names of the ways to use the text token; without PyTorch, so that commands can check them before it is loaded."""

from __future__ import annotations

USES_OF_TEXT = ("replace", "channel", "spatial", "film")
"""``replace``: the text token takes [CLS]'s place in the navigation layers (the paper's form)."""

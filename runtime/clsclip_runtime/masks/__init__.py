"""Logits to pixels, and masks as runs of pixels."""

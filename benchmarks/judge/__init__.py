"""The judge: a second picture maker that training never sees, and a command that scores any model on it.

It shares no code with the maker in ``clsclip``: its own dice, grounds, paste and composition. It reads the same
vocabulary and the same drawings. Run from the project's folder: ``python -m benchmarks.judge``.
"""

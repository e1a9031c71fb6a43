"""Measures all packages; nobody imports it. Run from the project's folder: ``python -m benchmarks.run``."""

"""The commands and programs of README.md and docs/, run as a reader would: ``make docs-test``."""

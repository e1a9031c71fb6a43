"""The command ``clsclip-export``: its options, the jobs that they ask for, and how a job is done."""

from clsclip_export.cli.command import command, main

__all__ = ["command", "main"]

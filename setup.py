"""Builds without what an earlier build left behind; everything else stands in setup.cfg."""

from __future__ import annotations

import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class CleanBuild(build_py):
    """Copies the packages into an empty folder: a module that is gone from the source is not installed again."""

    def run(self) -> None:
        """Empty the folder first."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build_py": CleanBuild})

"""``python -m clsclip_export.cli``."""

from __future__ import annotations

import sys

from clsclip_export.cli.command import main

if __name__ == "__main__":
    sys.exit(main())

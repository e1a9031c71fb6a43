"""``python -m clsclip_runtime`` is ``clsclip-infer``."""

from __future__ import annotations

import sys

from clsclip_runtime.cli.infer import main

if __name__ == "__main__":
    sys.exit(main())

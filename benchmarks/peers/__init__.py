"""Other ways to do the same work, each a case of :mod:`clsclip_bench`; ``python -m benchmarks.peers``."""

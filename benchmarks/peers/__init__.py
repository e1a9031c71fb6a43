"""Other ways to do the same work, each a contender of :mod:`clsclip_bench`; ``python -m benchmarks.peers``."""

"""Other ways to do the same work, each a contender of :mod:`clsclip_runtime.bench`; ``python -m benchmarks.peers``."""

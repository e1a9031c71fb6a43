"""The lists of what graphs may be, made from real exports by ``python -m tests.graph_rules``."""

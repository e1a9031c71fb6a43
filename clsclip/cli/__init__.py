"""The commands of the training side: ``clsclip-train`` and ``clsclip-eval``."""

"""How ``clsclip-serve`` stands load and hostile clients."""

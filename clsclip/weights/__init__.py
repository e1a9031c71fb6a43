"""Weights in the forms in which people have them: files, names of weights, and what they say of their towers."""

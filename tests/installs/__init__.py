"""Installations as users get them: the lowest versions that setup.cfg allows, each extra, and the GPU command."""

"""Graphs of a stranger's bundle in a process of their own, with limits: what they do to it, they do not do to us."""

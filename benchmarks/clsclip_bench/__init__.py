"""Measuring bundles on this machine: what ``clsclip-bench`` does.

Every row is a process of its own, so that its memory and its loading are its own; the rows that are compared take turns
(A B A B), so that what else the machine does hits all of them; and the machine's own rate of matrix products is
measured in the same turns, so that a row's share of it holds whatever the machine did meanwhile.

Importing this package is cheap: a worker measures how long loading takes, from the first import on.
"""

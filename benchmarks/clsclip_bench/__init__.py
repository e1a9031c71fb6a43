"""Measuring bundles on this machine: what ``clsclip-bench`` does.

Every row is a process of its own, so its memory and its loading are its own. Rows that are compared run in rounds
(A B A B), so what else the machine does hits all of them. The machine's peak, its rate of matrix products, is measured
in the same rounds, so a row's percentage of it holds on a busy machine too.

Importing this package is cheap: a worker measures how long loading takes, from the first import on.
"""

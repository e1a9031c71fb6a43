"""Campaigns of damaged and hostile files.

A *mutator* writes mutant number N of a kind of file, always the same for the same N. A *target* reads it: a function
in a child of its own, or a command. The *driver* (:mod:`tests.fuzz.driver`) runs them under limits and counts.

To add a kind of file: write a module with a class that has ``name``, ``targets`` and ``make`` (see
:class:`tests.fuzz.driver.Mutator`), and name it in :data:`tests.fuzz.mutators.MUTATORS`; where it needs another way of
reading, add a function to :data:`tests.fuzz.targets.TARGETS`.

    python -m tests.fuzz onnx --target bundle-openvino --count 10000
"""

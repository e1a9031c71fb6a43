"""Tests of the C++ runtime against the Python one."""

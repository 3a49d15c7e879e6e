"""The proof: unit tests mirror the code, other kinds of test have folders of their own.

A package so that `python -m tests.simulators` works and tests share hand-written fakes.
"""

"""The trading engine: everything that decides about money, without a window.

Rule: nothing below this package imports Qt or `console`; the engine never asks which event loop
runs it.
"""

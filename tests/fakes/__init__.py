"""Hand-written stand-ins for the engine's ports.

A fake replaces a port that the outside fills (a clock, a venue, a feed), never the thing under
test, and behaves like the real one in every way the contract tests can see.
"""

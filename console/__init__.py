"""The operator's side: command line, bootstrap, view-models, views and theme.

Its one rule: it sees the engine only through `engine.api` and the words of `engine.model`.
Commands go up, state comes down; nothing on screen changes before the engine says so.
"""

"""Data that the program carries with it: style templates, icons, default policy.

Its one rule: data only, no code. It is a package so that `importlib.resources` finds the files in
a checkout, an installed wheel and a frozen build alike.
"""

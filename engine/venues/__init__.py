"""Adapters to venues, unaware of each other; each fills the same four ports.

Rule: a venue's own words and numbers end here; what leaves is in the words of `engine.model`.
`exchange` alone knows more than one of them: it puts together the one that is configured.
"""

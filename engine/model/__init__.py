"""The words of Seawall: values, ids, events, order states, limits, errors, the policy document,
snapshots.

Rule: pure data and pure functions; nothing of ours is imported, nothing does input or output.
"""

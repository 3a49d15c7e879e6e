"""The policy in force: the one source of truth for limits and modes.

Rule: nobody keeps a copy; every change is a new version, compare-and-set in one transaction.
"""

from engine.policy.authority import AuthorityState, PolicyAuthority
from engine.policy.policy_file import read_policy_file
from engine.policy.policy_store import EmergencyView, PolicyStore
from engine.policy.state_database import StateDatabaseAuthority

__all__ = [
    "AuthorityState",
    "EmergencyView",
    "PolicyAuthority",
    "PolicyStore",
    "StateDatabaseAuthority",
    "read_policy_file",
]

"""The policy in force: the one source of truth for limits and modes, the desk's where Redis is.

Rule: nobody keeps a copy; every change is a new version, compare-and-set in one transaction; what
two sides changed without knowing of each other is merged, and nothing gets looser by it.
"""

from engine.policy.authority import AuthorityState, PolicyAuthority
from engine.policy.desk_policy import DeskPolicy
from engine.policy.policy_file import read_policy_file
from engine.policy.policy_store import EmergencyMode, EmergencyView, PolicyStore
from engine.policy.shared import SharedPolicy
from engine.policy.state_database import StateDatabaseAuthority

__all__ = [
    "AuthorityState",
    "DeskPolicy",
    "EmergencyMode",
    "EmergencyView",
    "PolicyAuthority",
    "PolicyStore",
    "SharedPolicy",
    "StateDatabaseAuthority",
    "read_policy_file",
]

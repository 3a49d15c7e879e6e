"""How other processes talk to a running engine: JSON lines over a socket in its data directory.

Its one rule: whatever comes in, the engine goes on and the sender gets one clear answer.
"""

from engine.control.client import CommandFailed, ControlClient, NoAnswer, NoEngine
from engine.control.server import ControlServer, Verb

__all__ = ["CommandFailed", "ControlClient", "ControlServer", "NoAnswer", "NoEngine", "Verb"]

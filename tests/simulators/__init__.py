"""Wire-level simulators of the real venues: `python -m tests.simulators binance|bybit`.

Rule: `core` is a venue without sockets (orders, positions, margin, funding, timers on an injected
clock), each dialect puts one venue's words on it, still without sockets, and only `wire` opens
ports. They follow the venue facts that the project was given, never the engine's own clients.
"""

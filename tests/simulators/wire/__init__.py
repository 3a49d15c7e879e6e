"""The only part of the simulators that opens sockets: HTTP, WebSocket and the control address."""

from tests.simulators.wire.server import SimulatorServer

__all__ = ["SimulatorServer"]

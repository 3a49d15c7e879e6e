"""Opens the control socket on a kernel for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from engine.control import ControlServer, Verb
from engine.kernel.kernel import Kernel
from engine.kernel.verbs import Verbs


@asynccontextmanager
async def serve_control(
    kernel: Kernel, data_dir: Path, *, further: Mapping[str, Verb] | None = None
) -> AsyncIterator[None]:
    """Serve the engine's verbs, and `further` ones of the face that runs it."""
    verbs = {**Verbs(client=kernel.client).table(), **(further or {})}
    server = ControlServer(verbs=verbs, data_dir=data_dir)
    await server.start()
    try:
        yield
    finally:
        await server.aclose()


__all__ = ["serve_control"]

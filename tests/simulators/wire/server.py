"""Serves a simulated exchange on loopback: REST, streams and control on one port.

A request that the exchange answers with ConnectionLost has its socket cut without a byte. Control
lives under `/control`, where no venue has anything. Runs on one loop, with aiohttp.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from engine.runtime import Tasks
from tests.simulators.exchange import (
    ConnectionLost,
    Exchange,
    HandshakeRefused,
    Request,
)
from tests.simulators.sessions import Close, Ping, Session
from tests.simulators.wire.control import Control

_HOST = "127.0.0.1"
_SHUTDOWN_S = 0.2
_FRAME_MAX = 4 * 1024 * 1024


class SimulatorServer:
    """One exchange on one port of loopback."""

    def __init__(self, *, exchange: Exchange, tasks: Tasks) -> None:
        self._exchange = exchange
        self._tasks = tasks
        self._control = Control(exchange=exchange)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, *, port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        application = web.Application(client_max_size=_FRAME_MAX)
        self._control.add_routes(application)
        application.router.add_route("*", "/{anything:.*}", self._serve)
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, _HOST, port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._exchange.start()

    async def close(self) -> None:
        self._exchange.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def addresses(self) -> dict[str, str]:
        """What the one line on standard output says."""
        return {
            "rest_url": f"http://{_HOST}:{self.port}",
            "stream_url": f"ws://{_HOST}:{self.port}",
            "control_url": f"http://{_HOST}:{self.port}/control",
        }

    # --- requests --------------------------------------------------------------------------------

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        if http.headers.get("Upgrade", "").lower() == "websocket":
            return await self._serve_stream(http)
        request = Request(
            method=http.method,
            path=http.path,
            # As it was sent: the signature covers these bytes.
            query=http.rel_url.raw_query_string,
            body=await http.read(),
            headers={name.lower(): value for name, value in http.headers.items()},
            peer=http.remote or _HOST,
        )
        try:
            answer = await self._exchange.request(request)
        except ConnectionLost:
            if http.transport is not None:
                http.transport.abort()
            return web.Response()  # Goes nowhere.
        return web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers))

    # --- streams ---------------------------------------------------------------------------------

    async def _serve_stream(self, http: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in http.headers.items()}
        try:
            session = self._exchange.connect(http.raw_path, headers)
        except HandshakeRefused as refused:
            return web.Response(status=refused.status, text=str(refused))
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=_FRAME_MAX)
        await socket.prepare(http)
        sender = self._tasks.spawn("simulator stream", self._send(session, socket, http))
        try:
            await self._receive(session, socket)
        finally:
            session.close()
            sender.cancel()
        return socket

    async def _receive(self, session: Session, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                session.receive(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                session.pong()
            elif message.type is aiohttp.WSMsgType.PING:
                await socket.pong(message.data)

    async def _send(
        self, session: Session, socket: web.WebSocketResponse, http: web.Request
    ) -> None:
        while True:
            frame = await session.next_frame()
            try:
                if isinstance(frame, Close):
                    await self._end(frame, socket, http)
                    return
                if isinstance(frame, Ping):
                    await socket.ping(frame.payload)
                else:
                    await socket.send_str(frame.text)
            except ConnectionError:  # The peer is gone, as whoever is killed is.
                session.close()
                return
            except asyncio.CancelledError:
                session.close()
                raise

    async def _end(self, frame: Close, socket: web.WebSocketResponse, http: web.Request) -> None:
        if frame.is_abrupt:
            if http.transport is not None:
                http.transport.abort()
            return
        await socket.close(code=frame.code, message=frame.reason.encode())


__all__ = ["SimulatorServer"]

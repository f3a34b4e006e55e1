"""TCP over the lab's virtual network, so that ``redis.asyncio`` and friends run unmodified.

A connection is a JavaScript ``PortSocket`` (see ``network.js``). Two faces on it:
``PortTransport`` for asyncio, ``PortBackedSocket`` for blocking clients (these need JSPI).
"""

import asyncio
import errno
import io
import itertools
import socket

import lab_threads
from lab_loop import LabLoop
from pyodide.ffi import create_proxy, to_js

_bridge = None
_local_ports = itertools.count(40000)


def attach(bridge):
    """Use *bridge* (JavaScript: ``connect(host, port)``) from now on."""
    global _bridge
    _bridge = bridge


def _os_error(error, address):
    """Translate a rejected ``connect`` into what a server's kernel would have raised."""
    reason = str(error)
    if "ENOTFOUND" in reason:
        return socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if "ETIMEDOUT" in reason:
        return TimeoutError(errno.ETIMEDOUT, "Connection timed out")
    return ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {address!r}")


class PortTransport(asyncio.Transport):
    """An asyncio transport over one connection of the virtual network."""

    def __init__(self, loop, conn, protocol, peer):
        local = ("172.18.0.2", next(_local_ports))
        super().__init__({"peername": peer, "sockname": local, "socket": None})
        self._loop, self._conn, self._protocol = loop, conn, protocol
        self._send = conn.write  # looked up once: an attribute of a JavaScript object is dear
        self._closing = self._paused = False
        self._held = []
        self._listener = create_proxy(self._arrived)
        loop.call_soon(protocol.connection_made, self)
        conn.listen(self._listener)

    def _arrived(self, data):
        self._loop.call_soon(self._received, None if data is None else data.to_bytes())

    def _received(self, data):
        if self._closing:
            return
        if self._paused:
            self._held.append(data)
        elif data is None:
            self._protocol.eof_received()
            self.close()
        else:
            self._protocol.data_received(data)

    def write(self, data):
        """Send *data*; silently dropped after close, as asyncio does."""
        if not self._closing:
            self._send(to_js(data))

    def writelines(self, list_of_data):
        """Send all chunks as one."""
        self.write(b"".join(list_of_data))

    def close(self):
        """Close both directions."""
        if self._closing:
            return
        self._closing = True
        self._conn.close()
        self._loop.call_soon(self._listener.destroy)
        self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self):
        """Tell whether the transport is closed or closing."""
        return self._closing

    def can_write_eof(self):
        """Half-closed connections are not modelled."""
        return False

    def pause_reading(self):
        """Hold what arrives back."""
        self._paused = True

    def resume_reading(self):
        """Deliver what was held back, then go on."""
        self._paused = False
        held, self._held = self._held, []
        for data in held:
            self._loop.call_soon(self._received, data)

    def is_reading(self):
        """Tell whether data is delivered as it comes."""
        return not self._paused

    def set_write_buffer_limits(self, high=None, low=None):
        """Nothing is buffered: ports have no back pressure."""

    def get_write_buffer_size(self):
        """Return 0: ports have no back pressure."""
        return 0

    def set_protocol(self, protocol):
        """Switch to *protocol*."""
        self._protocol = protocol

    def get_protocol(self):
        """Return the current protocol."""
        return self._protocol


async def _create_connection(self, protocol_factory, host=None, port=None, **options):
    """Stand in for ``loop.create_connection``; TLS is not modelled."""
    if options.get("ssl"):
        raise NotImplementedError("the lab's network has no TLS")
    try:
        conn = await _bridge.connect(host, port).promise
    except Exception as error:
        raise _os_error(error, (host, port)) from None
    protocol = protocol_factory()
    transport = PortTransport(self, conn, protocol, (host, port))
    await asyncio.sleep(0)
    return transport, protocol


class PortBackedSocket:
    """``socket.socket`` for blocking clients: a recv suspends the calling stack alone."""

    def __init__(self, family=socket.AF_INET, type=socket.SOCK_STREAM, proto=0, fileno=None):
        self.family, self.type, self.proto = family, type, proto
        self._conn = None
        self._timeout = None
        self._buffer = bytearray()
        self._eof = False
        self._peer = None

    def connect(self, address):
        """Connect to ``(host, port)`` of the virtual network."""
        self._need_suspension()
        try:
            self._conn = lab_threads.block_on(_bridge.connect(address[0], address[1]))
        except Exception as error:
            raise _os_error(error, address) from None
        self._peer = tuple(address[:2])

    def _need_suspension(self):
        if not lab_threads.can_block():
            raise OSError(errno.ENOTSUP, "blocking sockets need JSPI in this browser")

    def _fill(self):
        if self._buffer or self._eof:
            return
        if self._timeout == 0:
            data = self._conn.poll()
            if data is False:  # emscripten numbers errors differently: never a literal
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        else:
            self._need_suspension()
            limit = -1 if self._timeout is None else self._timeout * 1000
            data = lab_threads.block_on(self._conn.read(limit))
            if data is False:
                raise TimeoutError("timed out")
        if data is None:
            self._eof = True
        else:
            self._buffer += data.to_bytes()

    def recv(self, bufsize, flags=0):
        """Return up to *bufsize* bytes; ``b""`` at the end."""
        self._fill()
        data = bytes(self._buffer[:bufsize])
        if not flags & socket.MSG_PEEK:
            del self._buffer[:bufsize]
        return data

    def recv_into(self, buffer, nbytes=0, flags=0):
        """Read into *buffer*; returns the count."""
        data = self.recv(nbytes or len(buffer), flags)
        buffer[: len(data)] = data
        return len(data)

    def sendall(self, data, flags=0):
        """Send everything."""
        if self._conn is None or self._eof:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        self._conn.write(to_js(bytes(data)))

    def send(self, data, flags=0):
        """Send everything; returns the count."""
        self.sendall(data)
        return len(data)

    def settimeout(self, value):
        """Set seconds to wait in ``recv``; None waits for ever, 0 never."""
        self._timeout = value

    def gettimeout(self):
        """Return the timeout in seconds."""
        return self._timeout

    def setblocking(self, flag):
        """Set the timeout to None or 0."""
        self._timeout = None if flag else 0

    def setsockopt(self, *args):
        """Accept and ignore socket options."""

    def getsockopt(self, *args):
        """Return 0: no error pending."""
        return 0

    def getpeername(self):
        """Return the remote address."""
        return self._peer

    def getsockname(self):
        """Return some local address."""
        return ("172.18.0.2", 40000)

    def fileno(self):
        """Return a number that is no descriptor; select() is not available."""
        return 1000

    def shutdown(self, how):
        """Half-closed connections are not modelled."""

    def close(self):
        """Close both directions."""
        if self._conn is not None:
            self._conn.close()
            self._conn, self._eof = None, True

    def makefile(self, mode="r", buffering=None, **kwargs):
        """Return a buffered file over the connection (pg8000, http.client)."""
        raw = _RawSocketFile(self)
        if "w" in mode and "r" in mode:
            return io.BufferedRWPair(raw, raw)
        return io.BufferedWriter(raw) if "w" in mode else io.BufferedReader(raw)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


class _RawSocketFile(io.RawIOBase):
    def __init__(self, sock):
        super().__init__()
        self._sock = sock

    def readable(self):
        return True

    def writable(self):
        return True

    def readinto(self, buffer):
        return self._sock.recv_into(buffer)

    def write(self, data):
        self._sock.sendall(data)
        return len(data)


def _connect_blocking(address, timeout=None, source_address=None, *, all_errors=False):
    sock = PortBackedSocket()
    sock.settimeout(timeout if isinstance(timeout, int | float) else None)
    sock.connect(address)
    return sock


def _resolve(host, port, family=0, type=0, proto=0, flags=0):
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]


def install():
    """Route asyncio's and the blocking sockets through this module."""
    LabLoop.create_connection = _create_connection
    socket.socket = PortBackedSocket
    socket.create_connection = _connect_blocking
    socket.getaddrinfo = _resolve

"""``redis:6379`` of the virtual network: fakeredis behind RESP, one object per connection.

Lua is not there. The three scripts that redis-py's own ``Lock`` sends are played in Python,
recognised by their SHA1; any other script is refused with an error that says so.
"""

import hashlib

import redis.asyncio
import redis.lock
from fakeredis._clients._tcp_server import encode_reply
from fakeredis._core import FakeServer
from fakeredis._helpers import NoResponse, SimpleError, SimpleString
from fakeredis._socket._async import AsyncFakeSocket
from pyodide.ffi import create_proxy, to_js

VERSION = (7, 4)
NO_LUA = "ERR the lab's Redis runs in the browser and has no Lua"
_PUSHES = {
    b"message", b"pmessage", b"smessage", b"subscribe", b"psubscribe", b"ssubscribe",
    b"unsubscribe", b"punsubscribe", b"sunsubscribe",
}  # fmt: skip

_server = None
_connections = set()


def start():
    """Start with empty data; returns nothing, never fails."""
    global _server
    _server = FakeServer(server_type="redis", version=VERSION)


def stop():
    """Close every connection and forget the data, as a container without a volume."""
    global _server
    for connection in list(_connections):
        connection.hang_up()
    _server = None


def accept(conn):
    """Serve one connection (JavaScript ``PortSocket``) until either side closes it."""
    _connections.add(Connection(conn))


class Connection(AsyncFakeSocket):
    """A fakeredis socket that writes its replies to the network in one piece per read."""

    def __init__(self, conn):
        super().__init__(_server, 0, client_class=redis.asyncio.Redis)
        self._conn = conn
        self._send = conn.write  # looked up once: an attribute of a JavaScript object is dear
        self._replies = []
        self._reading = False
        self._listener = create_proxy(self._arrived)
        conn.listen(self._listener)

    def _arrived(self, data):
        if data is None:
            self.hang_up()
            return
        self._reading = True
        try:
            self.sendall(data.to_bytes())
        finally:
            self._reading = False
            self._write()

    def hang_up(self):
        """Close the connection; pending blocking commands are forgotten."""
        if self in _connections:
            _connections.discard(self)
            self._conn.close()
            self.close()

    def put_response(self, msg):
        """Encode a reply or a push in the protocol that the client negotiated."""
        if isinstance(msg, NoResponse) or self not in _connections:
            return
        version = self._client_info.protocol_version
        self._replies.append(_encode(msg, version))
        if not self._reading:  # published, or a blocking command that came to its end
            self._write()

    def _write(self):
        if self._replies and self in _connections:
            self._send(to_js(b"".join(self._replies)))
        self._replies.clear()

    def _process_command(self, fields):
        name = fields[0].lower() if fields else b""
        if name not in (b"eval", b"evalsha", b"script"):
            super()._process_command(fields)
            return
        try:
            reply = self._script(name, fields[1:])
        except SimpleError as error:
            reply = self._decode_result(error)
        self.put_response(reply)

    def _script(self, name, args):
        if name == b"script":
            return self._script_command(args[0].lower(), args[1:])
        sha = args[0].lower() if name == b"evalsha" else _sha(args[0])
        if name == b"evalsha" and sha not in _server.script_cache:
            raise SimpleError("NOSCRIPT No matching script. Please use EVAL.")
        _server.script_cache.setdefault(sha, args[0])
        if sha not in _SCRIPTS:
            raise SimpleError(NO_LUA)
        count = int(args[1])
        with _server.lock:
            return _SCRIPTS[sha](self._call, args[2 : 2 + count], args[2 + count :])

    def _script_command(self, name, args):
        if name == b"load":
            sha = _sha(args[0])
            _server.script_cache[sha] = args[0]
            return sha
        if name == b"exists":
            return [int(sha.lower() in _server.script_cache) for sha in args]
        if name == b"flush":
            _server.script_cache.clear()
            return SimpleString(b"OK")
        raise SimpleError(NO_LUA)

    def _call(self, *fields):
        """Run a command as ``redis.call`` does and return its plain result."""
        function, signature = self._name_to_func(fields[0].decode())
        return self._run_command(function, signature, list(fields[1:]), True)


def _encode(msg, version):
    if isinstance(msg, bytes):
        return b"$%d\r\n%s\r\n" % (len(msg), msg)
    reply = encode_reply(_unwrap(msg), version)
    is_push = isinstance(msg, list) and msg and isinstance(msg[0], bytes) and msg[0] in _PUSHES
    return b">" + reply[1:] if version == 3 and is_push else reply


def _unwrap(msg):
    if isinstance(msg, SimpleString):
        return msg.value
    if isinstance(msg, list):
        return [_unwrap(item) for item in msg]
    return msg


def _sha(script):
    return hashlib.sha1(script).hexdigest().encode()


def _release(call, keys, argv):
    if call(b"get", keys[0]) != argv[0]:
        return 0
    call(b"del", keys[0])
    return 1


def _extend(call, keys, argv):
    if call(b"get", keys[0]) != argv[0]:
        return 0
    left = call(b"pttl", keys[0])
    if left < 0:
        return 0
    added = int(argv[1]) + (left if argv[2] == b"0" else 0)
    call(b"pexpire", keys[0], b"%d" % added)
    return 1


def _reacquire(call, keys, argv):
    if call(b"get", keys[0]) != argv[0]:
        return 0
    call(b"pexpire", keys[0], argv[1])
    return 1


_SCRIPTS = {
    _sha(redis.lock.Lock.LUA_RELEASE_SCRIPT.encode()): _release,
    _sha(redis.lock.Lock.LUA_EXTEND_SCRIPT.encode()): _extend,
    _sha(redis.lock.Lock.LUA_REACQUIRE_SCRIPT.encode()): _reacquire,
}

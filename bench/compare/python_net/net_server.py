"""Python's side of W8 and W9: `net_server.py echo|http [--uvloop 1] [--workers 1]`, a protocol per connection."""
import asyncio
import socket
import sys
from email.utils import formatdate

BODY = b"Hello, world!\n"


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self.transport.write(data)


class Http(Echo):
    """Looks for the empty line that ends a header and believes everything else."""

    answer = b""
    rest = b""

    def data_received(self, data):
        *requests, self.rest = (self.rest + data).split(b"\r\n\r\n")
        if requests:
            self.transport.write(Http.answer * len(requests))


def refresh_answer(loop):
    Http.answer = (
        b"HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
        % (formatdate(usegmt=True).encode(), len(BODY), BODY)
    )
    loop.call_later(1, refresh_answer, loop)


async def main(kind):
    loop = asyncio.get_running_loop()
    refresh_answer(loop)
    server = await loop.create_server({"echo": Echo, "http": Http}[kind], "127.0.0.1", 0, backlog=4096)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if "--uvloop" in sys.argv:
    import uvloop

    uvloop.install()
asyncio.run(main(sys.argv[1]))

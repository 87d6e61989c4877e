// A WebSocket client in Python, by hand on a socket: what it sends is RFC 6455's, byte for byte, and owes nothing
// to our own client.
#include <string>

#include "fibrio/http/websocket.hpp"
#include "http/programs.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"

using namespace http_test;
namespace http = fibrio::http;

TEST_CASE("A raw client's messages come back: all lengths, fragments, pings, its close", "[http]") {
  fibrio::test::need_program("python3");
  const Folder folder;
  const std::string script = folder.write("ask.py", R"py(
import base64, hashlib, os, socket, struct, sys

s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
key = base64.b64encode(os.urandom(16))
s.sendall(b"GET /echo HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
          b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
          b"Sec-WebSocket-Key: " + key + b"\r\n\r\n")
file = s.makefile("rb")
assert file.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
fields = {}
while (line := file.readline()) != b"\r\n":
    name, value = line.split(b":", 1)
    fields[name.strip().lower()] = value.strip()
accept = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
assert fields[b"sec-websocket-accept"] == base64.b64encode(accept), fields
assert fields[b"upgrade"].lower() == b"websocket" and fields[b"connection"].lower() == b"upgrade", fields
assert b"sec-websocket-extensions" not in fields, "an extension that it does not have"

def frame(opcode, payload, last=True):
    n = len(payload)
    length = bytes([0x80 | n]) if n < 126 else b"\xfe" + struct.pack(">H", n) if n < 65536 else b"\xff" + struct.pack(">Q", n)
    mask = os.urandom(4)
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes((mask * (n // 4 + 1))[:n], "big")).to_bytes(n, "big")
    return bytes([opcode | (0x80 if last else 0)]) + length + mask + masked

def receive():
    first, second = file.read(2)
    assert first & 0x70 == 0 and second & 0x80 == 0, "a server does not mask, and there are no extensions"
    n = second
    if n == 126: n, = struct.unpack(">H", file.read(2)); assert n >= 126
    elif n == 127: n, = struct.unpack(">Q", file.read(8)); assert n >= 65536
    return first & 15, bool(first & 0x80), file.read(n)

def receive_message():
    opcode, last, data = receive()
    while not last:
        more, last, part = receive()
        assert more == 0
        data += part
    return opcode, data

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
for n in 0, 1, 125, 126, 127, 65535, 65536, 1_000_000:
    data = os.urandom(n)
    s.sendall(frame(BINARY, data))
    opcode, back = receive_message()
    assert opcode == BINARY and hashlib.sha256(back).digest() == hashlib.sha256(data).digest(), n
text = "příliš žluťoučký kůň 🐎" * 100
s.sendall(frame(TEXT, text.encode()))
assert receive_message() == (TEXT, text.encode())
for byte in frame(TEXT, text.encode()):
    s.sendall(bytes([byte]))
assert receive_message() == (TEXT, text.encode())
# Fragments, cut inside of a character, with a ping between them.
raw = text.encode()
s.sendall(frame(TEXT, raw[:3], False) + frame(PING, b"now") + frame(0, b"", False) + frame(0, raw[3:]))
assert receive() == (PONG, True, b"now")
assert receive_message() == (TEXT, raw)
s.sendall(b"".join(frame(TEXT, b"%d" % i) for i in range(1000)))
for i in range(1000):
    assert receive_message() == (TEXT, b"%d" % i)
s.sendall(frame(CLOSE, struct.pack(">H", 1000) + b"bye"))
opcode, last, data = receive()
assert (opcode, last, data[:2]) == (CLOSE, True, struct.pack(">H", 1000)), data
assert file.read() == b"", "the server closes the connection"
print("ok")
)py");
  for (const std::size_t workers : {1, 2, 4}) {
    ServerThread server(
        [](http::Server& routes) {
          routes.route("GET", "/echo", [](http::Request& request) {
            return http::websocket_response(request, [](http::WebSocket& socket) {
              while (auto message = socket.receive()) socket.send(*message);
            });
          });
        },
        {}, workers);
    CHECK(run("python3 " + script + " " + std::to_string(server.port()) + " 2>&1") == "ok\n");
  }
}

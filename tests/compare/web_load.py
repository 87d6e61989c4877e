"""web_load.py <compiler>: proves that the load generator of W17 to W19 notices what a server does wrong, and measures one
that does all right; and that web.py makes rows of that."""
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench/compare"))
sys.dont_write_bytecode = True
import turns  # noqa: E402
import web  # noqa: E402

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024


class FakeServer:
    """Answers each request with `answer`; closes the connection if the client asked for that, or `closes`."""

    def __init__(self, answer, tls=None, closes=False):
        self.answer, self.tls, self.closes = answer, tls, closes
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.tls_port = self.listener.getsockname()[1]
        self.peer, self.workers, self.pid = "fake", 1, os.getpid()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                threading.Thread(target=self.converse, args=(self.listener.accept()[0],), daemon=True).start()
        except OSError:  # closed
            pass

    def converse(self, stream):
        try:
            if self.tls:
                stream = self.tls.wrap_socket(stream, server_side=True)
            with stream:
                while request := stream.recv(4096):
                    stream.sendall(self.answer)
                    if self.closes or b"Connection: close" in request:
                        break
                if self.tls:
                    stream.unwrap()
        except OSError:  # the client is gone
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def tls_context(site, **settings):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(site.certificate, site.key)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def build(compiler, folder):
    """The load generator, or None without OpenSSL."""
    program = folder / "web_load"
    has_openssl = subprocess.run([compiler, "-x", "c++", "-fsyntax-only", "-include", "openssl/ssl.h", "/dev/null"],
                                 stderr=subprocess.DEVNULL, check=False)
    if has_openssl.returncode != 0 or shutil.which("openssl") is None:
        return None
    subprocess.run([compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-pthread", ROOT / "bench/raw/web_load.cpp", "-o",
                    program, "-lssl", "-lcrypto"], check=True)
    return program


failures = 0


def expect(program, site, server, code, said, *arguments):
    global failures
    done = subprocess.run([program, "--port", str(server.port), "--path", "/kib", "--body", site.bodies["/kib"],
                           "--connections", "2", "--seconds", "0.1", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    if done.returncode != code or said not in done.stdout:
        failures += 1
        print(f"NOT AS PROMISED: {said!r}, {arguments}: ended with {done.returncode}, not {code}:\n{done.stdout}")


def main():
    with tempfile.TemporaryDirectory() as folder, web.Site() as site, web.Site() as stranger:
        program = build(sys.argv[1], pathlib.Path(folder))
        if program is None:
            return 77
        site.make_certificate()
        stranger.make_certificate()

        def try_plain(answer, code, said, **options):
            with FakeServer(answer, **options) as server:
                expect(program, site, server, code, said)

        def try_tls(code, said, *arguments, certificate=site.certificate, **settings):
            with FakeServer(GOOD, tls_context(site, **settings)) as server:
                expect(program, site, server, code, said, "--tls", certificate, *arguments)

        try_plain(GOOD, 0, '"errors": 0')
        try_plain(GOOD.replace(b"200", b"404"), 1, "not a 200: HTTP/1.1 404 OK")
        try_plain(GOOD[:-1] + b"y", 1, "another body")
        try_plain(GOOD + b"x", 1, "another body")
        try_plain(GOOD[:-1], 1, "the server ended the connection", closes=True)
        try_plain(b"x" * 5000, 1, "an endless header")
        try_tls(0, '"errors": 0')
        try_tls(0, '"errors": 0', "--handshake", "full")
        try_tls(0, '"errors": 0', "--handshake", "resumed")
        try_tls(1, "the server gave no ticket", "--handshake", "resumed", num_tickets=0)
        try_tls(1, "certificate verify failed", certificate=stranger.certificate)
        try_tls(1, "TLS handshake", maximum_version=ssl.TLSVersion.TLSv1_2)
        with FakeServer(GOOD) as server:
            expect(program, site, server, 2, "without --tls there is none", "--handshake", "full")
            expect(program, site, server, 2, "once, full or resumed", "--handshake", "half")
            expect(program, site, server, 2, "OpenSSL does not take", "--tls", "/dev/null")
            expect(program, site, server, 2, "cannot read nowhere", "--body", "nowhere")

        # What web.py makes of it: a row, or the reason why there is none.
        web.find_program = lambda context, name: [str(program)]
        context, rows = {"seconds": 0.1}, turns.Rows()
        with FakeServer(GOOD, tls_context(site)) as server:
            seen = web.ask(context, [str(program)], site, server, None, ("/kib", True, ("--connections", 2)))
            assert seen["errors"] == 0 and seen["server_cpu_us"] > 0 and seen["p999_us"] > 0, seen

            def one_turn(context, rows, question, peers, workers, variants, measure_one, site):
                assert set(peers) == {"fibrio", "nginx", "hyper", "hyper, OpenSSL", "Go net/http"} and workers == (1, 2)
                assert list(variants) == ["HTTP", "HTTPS"] and site.certificate.exists()
                measure_one(server, None, "HTTP")
                server.peer = "hyper, OpenSSL"
                measure_one(server, None, "HTTP")  # left out
                measure_one(server, None, "HTTPS")

            web.side_by_side = one_turn
            web.net_servers.run_load = lambda *_: '{"requests_per_s": 8, "server_cpu_us": 2000, "p50_us": 1, "errors": 3}'
            web.measure_files(context, rows)
        assert [key[1:] for key in rows.rows] == [("fake", 1, "HTTP"), ("hyper, OpenSSL", 1, "HTTPS")], rows.rows
        row = rows.rows["W19", "fake", 1, "HTTP"]
        assert row["values"] == [2048] and row["extra"]["mib_per_s"] == [8] and row["extra"]["errors"] == [3], row
    return 1 if failures else 0


if __name__ == "__main__":
    status = main()
    print({0: "web_load: keeps its promises", 77: "left out: no OpenSSL"}.get(status, "see above"))
    sys.exit(status)

"""The network questions about HTTP servers as they are used: HTTP and HTTPS with keep-alive (W17), TLS handshakes (W18), a
file (W19). One program a peer answers all, with a certificate made on the spot; raw_web_load asks, and looks at the status
and the body of every answer.
"""
import random
import shutil
import tempfile
from pathlib import Path

import net_servers
from net_servers import build_go, build_rust, find_nginx, find_program
from turns import side_by_side

MIB = 1024 * 1024
CRATES = ("tokio", "hyper", "tokio-util", "tokio-rustls", "rustls-pemfile", "tokio-openssl", "openssl")
ONLY_TLS = ("hyper, OpenSSL",)  # without TLS it is the one above it
PEERS = {
    "fibrio": (lambda context: find_program(context, "server_web"), (1, 2)),
    "nginx": (lambda context: [find_nginx()], (1, 2)),
    "hyper": (lambda context: build_rust(context, "web", "tokio_web", CRATES), (1, 2)),
    "hyper, OpenSSL": (
        lambda context: build_rust(context, "web", "tokio_web", CRATES) + ["--tls", "openssl"],
        (1, 2),
    ),
    "Go net/http": (lambda context: build_go(context, "net_web"), (1, 2)),
}

# variant -> (path, TLS, further arguments of raw_web_load)
KEEP_ALIVE = {
    "HTTP, 14 bytes": ("/", False, ("--connections", 64)),
    "HTTP, 1 KiB": ("/kib", False, ("--connections", 64)),
    "HTTPS, 14 bytes": ("/", True, ("--connections", 64)),
    "HTTPS, 1 KiB": ("/kib", True, ("--connections", 64)),
    "HTTPS, 1 KiB, 1000 connections": ("/kib", True, ("--connections", 1000)),
}
HANDSHAKES = {
    "full": ("/", True, ("--connections", 16, "--handshake", "full")),
    "resumed": ("/", True, ("--connections", 16, "--handshake", "resumed")),
}
FILES = {
    "HTTP": ("/files/mib", False, ("--connections", 16)),
    "HTTPS": ("/files/mib", True, ("--connections", 16)),
}


class Site:
    """A folder with what the servers need, and with the bodies that the generator compares answers with."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="site_"))
        self.folder.chmod(0o755)  # nginx's workers are another user's
        self.certificate, self.key, self.files = (self.folder / name for name in ("cert.pem", "key.pem", "files"))
        self.files.mkdir()
        self.bodies = {"/": self.folder / "hello", "/kib": self.folder / "kib", "/files/mib": self.files / "mib"}
        self.bodies["/"].write_bytes(net_servers.BODY)
        self.bodies["/kib"].write_bytes(b"x" * 1024)
        self.bodies["/files/mib"].write_bytes(random.Random(1).randbytes(MIB))

    def make_certificate(self):
        net_servers.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                         "2", "-subj", "/CN=localhost", "-keyout", str(self.key), "-out", str(self.certificate)])

    def arguments(self):
        return ["--certificate", str(self.certificate), "--key", str(self.key), "--files", str(self.files)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


def ask(context, load, site, server, cpu, variant):
    """What one run of the generator saw."""
    path, secure, arguments = variant
    command = [*load, "--port", server.tls_port if secure else server.port, "--pid", server.pid, "--path", path]
    command += ["--body", site.bodies[path], "--seconds", context["seconds"], *arguments]
    command += ["--tls", site.certificate] if secure else []
    return net_servers.parse_load(net_servers.run_load([str(part) for part in command], cpu, context["seconds"]))


def measure(context, rows, question, variants, unit, figures):
    """`figures(seen)` makes the row's value, and more for its `extra`, of what the generator saw."""
    load = find_program(context, "raw_web_load")
    wanted = list(variants)[:1] if context.get("quick") else variants

    def measure_one(server, cpu, variant):
        if server.peer in ONLY_TLS and not variants[variant][1]:
            return
        seen = ask(context, load, site, server, cpu, variants[variant])
        rows.add(question, server.peer, server.workers, variant, unit, *figures(seen))

    with Site() as site:
        site.make_certificate()
        side_by_side(context, rows, question, PEERS, (1, 2), wanted, measure_one, site=site)


def cpu_us(seen):
    return seen.pop("server_cpu_us"), seen


def measure_keep_alive(context, rows):
    measure(context, rows, "W17", KEEP_ALIVE, "us CPU per request", cpu_us)


def measure_handshakes(context, rows):
    measure(context, rows, "W18", HANDSHAKES, "us CPU per connection", cpu_us)


def measure_files(context, rows):
    def figures(seen):
        return seen.pop("server_cpu_us") / 1000 * 1024, {"mib_per_s": seen["requests_per_s"], **seen}

    measure(context, rows, "W19", FILES, "ms CPU per GiB", figures)


QUESTIONS = {"W17": measure_keep_alive, "W18": measure_handshakes, "W19": measure_files}

"""The servers of the network questions: how each is built, started, found, stopped, and what CPU time it took."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEBIAN_CRATES = Path("/usr/share/cargo/registry")
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"  # the one that Debian's uvloop is for
BODY = b"Hello, world!\n"


class Unavailable(Exception):
    """A peer that cannot be had here; the text says why."""


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, **options)
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed: {done.stdout.strip().splitlines()[-1:] or done.returncode}")
    return done.stdout


def build_go(context, name):
    if shutil.which("go") is None:
        raise Unavailable("no Go (Debian: golang-go)")
    out = Path(context["peers_build"]) / "go_net"
    out.mkdir(parents=True, exist_ok=True)
    run(["go", "build", "-o", str(out / name), f"./{name}"], cwd=HERE / "go_net", env={**os.environ, "GOPROXY": "off"})
    return [str(out / name)]


def build_rust(context, name, package="tokio_net", crates=("tokio", "hyper")):
    if shutil.which("cargo") is None:
        raise Unavailable("no Rust (Debian: cargo)")
    for crate in crates:
        if not list(DEBIAN_CRATES.glob(f"{crate}-[0-9]*")):
            raise Unavailable(f"no crate {crate} (Debian: librust-{crate}-dev)")
    out = Path(context["peers_build"]) / package
    shutil.copytree(HERE / package, out, dirs_exist_ok=True)  # cargo writes its lock file beside the sources
    source = ["source.crates-io.replace-with='debian'", f"source.debian.directory='{DEBIAN_CRATES}'"]
    run(["cargo", "build", "--release", "--offline"] + [part for s in source for part in ("--config", s)], cwd=out)
    return [str(out / "target" / "release" / name)]


def find_program(context, name):
    found = [path for path in Path(context["build"]).rglob(name) if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        raise Unavailable(f"{name} is not in {context['build']}")
    return [str(found[0])]


def python_server(kind, uvloop):
    if uvloop and subprocess.run([PYTHON, "-c", "import uvloop"], stderr=subprocess.DEVNULL).returncode != 0:
        raise Unavailable("no uvloop (Debian: python3-uvloop)")
    return [PYTHON, str(HERE / "python_net" / "net_server.py"), kind] + (["--uvloop"] if uvloop else [])


def find_nginx():
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise Unavailable("no nginx (Debian: nginx-light)")
    return found


NGINX_CONF = """
daemon off;
worker_processes {workers};
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = / {{ default_type text/plain; return 200 "Hello, world!\\n"; }}
    {site}
  }}
}}
"""
NGINX_SITE = """
    listen 127.0.0.1:{tls_port} ssl backlog=4096;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    location = /kib {{ default_type text/plain; return 200 "{kib}"; }}
    location /files/ {{ alias {files}/; }}
"""


def before_exec(cpu, priority):
    """In the child: its CPU, and where that is allowed a share that other work on the machine cannot eat into, or a
    real-time priority if that is not 0."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    if priority > 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError:
            pass
    try:
        with open("/proc/self/autogroup", "w", encoding="ascii") as file:
            file.write("-20")
    except OSError:
        pass


def launch(command, cpu, priority=0, **options):
    return subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: before_exec(cpu, priority), **options)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A running server, until stop(). With a site (web.py) it serves that, also over TLS."""

    def __init__(self, peer, workers, command, cpu=None, priority=0, site=None):
        self.peer, self.workers, self.pinned = peer, workers, cpu is not None
        self.folder = Path(tempfile.mkdtemp(prefix="net_"))
        os.chmod(self.folder, 0o755)  # nginx's workers are another user's
        self.port = self.tls_port = None
        self.serves_tls = site is not None
        if os.path.basename(command[0]) == "nginx":
            command = [command[0], "-p", str(self.folder), "-c", str(self.configure_nginx(site))]
        else:
            command = [*command, *(site.arguments() if site else ()), "--workers", str(workers)]
        with open(self.folder / "log", "wb") as log:
            self.process = launch(command, cpu, priority, stdout=log, stderr=log)
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def configure_nginx(self, site):
        self.port = free_port()
        more = ""
        if site:
            self.tls_port = free_port()
            more = NGINX_SITE.format(tls_port=self.tls_port, certificate=site.certificate, key=site.key, files=site.files,
                                     kib=site.bodies["/kib"].read_text())
        file = self.folder / "nginx.conf"
        file.write_text(NGINX_CONF.format(workers=self.workers, folder=self.folder, port=self.port, site=more))
        return file

    @property
    def pid(self):
        return self.process.pid

    def wait_until_it_answers(self):
        for _ in range(200):
            time.sleep(0.05)
            text = (self.folder / "log").read_text(errors="replace")
            printed = re.findall(r"127\.0\.0\.1:(\d+)", text)  # the second one is that of TLS
            if self.port is None and printed:
                self.port = int(printed[0])
            if self.tls_port is None and len(printed) > 1:
                self.tls_port = int(printed[1])
            if self.process.poll() is not None:
                break
            if self.port is not None and (self.tls_port is not None or not self.serves_tls):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                        return
        raise Unavailable(f"{self.peer} does not start: {text.strip().splitlines()[-1:]}")

    def check_body(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            if answer.read() != BODY:
                raise RuntimeError(f"{self.peer} answers something else")

    def cpu_ns(self):
        """CPU time of its threads and of its children (nginx's workers)."""
        pids = {self.pid}
        for file in Path(f"/proc/{self.pid}/task").glob("*/children"):
            pids.update(int(pid) for pid in file.read_text().split())
        return sum(
            int(file.read_text().split()[0]) for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")
        )

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_load(command, cpu, seconds, priority=0):
    """Runs a load generator, which is given half a minute more than it was asked to take. Returns what it prints."""
    process = launch(command, cpu, priority, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        return process.communicate(timeout=seconds + 30)[0]
    finally:
        process.kill()
        process.wait()


def versions():
    """What is measured here besides fibrio, with its version."""

    def first(pattern, command):
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        except OSError:
            return None
        found = re.search(pattern, done.stdout) if done.returncode in (0, 1) else None  # wrk --version fails
        return found[1] if found else None

    found = {
        "Go": first(r"go(\d[\d.]*)", ["go", "version"]),
        "rustc": first(r"rustc ([\d.]+)", ["rustc", "--version"]),
        "nginx": first(r"nginx/([\d.]+)", [shutil.which("nginx") or "/usr/sbin/nginx", "-v"]),
        "Python": first(r"Python ([\d.]+)", [PYTHON, "--version"]),
        "uvloop": first(r"([\d.]+)", [PYTHON, "-c", "import uvloop; print(uvloop.__version__)"]),
        "OpenSSL": first(r"OpenSSL ([\d.]+)", ["openssl", "version"]),
        "wrk": first(r"wrk (?:debian/)?([\d.]+)", ["wrk", "--version"]),
    }
    for crate in ("tokio", "hyper", "rustls", "ring"):
        folders = sorted(DEBIAN_CRATES.glob(f"{crate}-[0-9]*"))
        found[crate] = folders[-1].name.split("-", 1)[1] if folders else None
    return {name: version for name, version in found.items() if version}


def parse_load(text):
    """The JSON object that our load generators print."""
    for line in text.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"the load generator failed: {text.strip()[-300:]}")

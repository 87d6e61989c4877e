"""The peers of the compute questions: where each one's program is or how it is built, and its version."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
REGISTRY = pathlib.Path("/usr/share/cargo/registry")  # Debian's librust-*-dev packages


class Missing(Exception):
    """The peer cannot be measured; says why."""


def output_of(*command):
    """What a command prints, or an empty string if it fails or is not there."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def package_version(package):
    return output_of("dpkg-query", "-W", "-f=${Version}", package) or "version unknown"


def debian_python():
    """Debian's own interpreter has Debian's uvloop."""
    return "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


def run_build(what, command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, **options)
    if done.returncode != 0:
        raise Missing(f"{what} does not build: {done.stdout.strip()[-300:]}")


class Peer:
    """`command()` gives the program and its first arguments, building it if need be; `version()` one line of text."""

    def __init__(self, build, peers_build):
        self.build, self.peers_build = pathlib.Path(build), pathlib.Path(peers_build)

    def in_build(self, name, missing):
        path = self.build / "bench" / "compare" / name
        if not path.exists():
            raise Missing(missing)
        return [str(path)]


class Fibrio(Peer):
    name = "fibrio"

    def command(self):
        return self.in_build("compare_fibrio", f"build the target comparison in {self.build}")

    def version(self):
        header = (HERE.parent.parent / "include/fibrio/version.hpp").read_text()
        number = ".".join(re.findall(r"kVersion(?:Major|Minor|Patch) = (\d+)", header))
        return f"{number} ({commit()}), {compiler(self.build)}, stacks of 256 KiB with guards"


class FibrioEager(Fibrio):
    name = "fibrio, eager"

    def command(self):
        return super().command() + ["--eager"]

    def version(self):
        return "the same, with TaskOptions::eager_start"


class BoostFiber(Peer):
    name = "Boost.Fiber"

    def command(self):
        return self.in_build("compare_boost_fiber", "no Boost.Fiber (Debian: libboost-fiber-dev)")

    def version(self):
        return (f"{package_version('libboost-fiber-dev')}, {compiler(self.build)}, round_robin on one thread, "
                "work_stealing on two; stacks of 16 KiB without guards")


class Go(Peer):
    name = "Go"

    def command(self):
        if shutil.which("go") is None:
            raise Missing("no go (Debian: golang-go)")
        target = self.peers_build.resolve() / "go_peer"
        cache = os.environ.get("GOCACHE", str(self.peers_build.resolve() / "go-cache"))
        environment = {**os.environ, "GOCACHE": cache, "GOFLAGS": "", "GO111MODULE": "on"}
        run_build("the Go program", ["go", "build", "-o", str(target), "."], cwd=HERE / "go", env=environment)
        return [str(target)]

    def version(self):
        return output_of("go", "version").removeprefix("go version ") + ", GOMAXPROCS = workers"


class Tokio(Peer):
    name = "Tokio"

    def command(self):
        if shutil.which("cargo") is None:
            raise Missing("no cargo (Debian: cargo)")
        for crate, package in (("tokio", "librust-tokio-dev"), ("async-channel", "librust-async-channel-dev")):
            if not list(REGISTRY.glob(f"{crate}-[0-9]*")):
                raise Missing(f"no crate {crate} (Debian: {package})")
        # Cargo writes its lock file beside the sources: they are copied to keep the tree clean.
        copy = self.peers_build.resolve() / "tokio"
        shutil.copytree(HERE / "tokio", copy, dirs_exist_ok=True)
        run_build("the Tokio program", ["cargo", "build", "--release", "--offline"], cwd=copy,
                  env={**os.environ, "CARGO_TARGET_DIR": str(copy / "target")})
        return [str(copy / "target" / "release" / "tokio_peer")]

    def version(self):
        crates = [path.name for crate in ("tokio", "async-channel") for path in REGISTRY.glob(f"{crate}-[0-9]*")]
        return f"{', '.join(crates)}, {output_of('rustc', '--version')}, release with lto, worker_threads = workers"


class Asyncio(Peer):
    name = "asyncio"

    def command(self):
        if not output_of(debian_python(), "-c", "import asyncio; print(asyncio.Runner)"):
            raise Missing("no Python of 3.11 or newer (Debian: python3)")
        return [debian_python(), str(HERE / "python" / "asyncio_peer.py")]

    def version(self):
        return output_of(debian_python(), "--version")


class Uvloop(Asyncio):
    name = "uvloop"

    def command(self):
        if not self.number():
            raise Missing("no uvloop (Debian: python3-uvloop)")
        return super().command() + ["--loop", "uvloop"]

    def number(self):
        return output_of(debian_python(), "-c", "import uvloop; print(uvloop.__version__)")

    def version(self):
        return f"{self.number()}, {super().version()}"


class OneTbb(Peer):
    name = "oneTBB"

    def command(self):
        return self.in_build("compare_onetbb", "no oneTBB (Debian: libtbb-dev)")

    def version(self):
        return f"{package_version('libtbb-dev')}, {compiler(self.build)}; fork-join only"


class PlainThreads(Peer):
    name = "plain threads"

    def command(self):
        return self.in_build("compare_threads", f"build the target comparison in {self.build}")

    def version(self):
        return f"{os.confstr('CS_GNU_LIBC_VERSION')}, {compiler(self.build)}; std::mutex, std::condition_variable"


PEERS = (Fibrio, FibrioEager, BoostFiber, Go, Tokio, Asyncio, Uvloop, OneTbb, PlainThreads)


def commit():
    """The commit that the sources are of, or are based on."""
    git = ("git", "-C", str(HERE.parent.parent))
    sources = ("CMakeLists.txt", "bench", "examples", "include", "src")
    name = output_of(*git, "rev-parse", "--short", "HEAD")
    changed = name and output_of(*git, "status", "--porcelain", "--", *sources)
    return (name or "no commit") + (" with uncommitted changes" if changed else "")


def compiler(build):
    cache = pathlib.Path(build) / "CMakeCache.txt"
    match = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache.read_text(), re.MULTILINE) if cache.exists() else None
    lines = output_of(match[1], "--version").splitlines() if match else []
    return lines[0] if lines else "compiler unknown"

"""Servers on loopback that tests start and stop: Debian's PostgreSQL, and MLflow's own server."""

import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from program import ENVIRONMENT

HOST, USER, PASSWORD = "127.0.0.1", "sweeper", "n0t-to-be-t0ld"
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

needs_postgres = pytest.mark.skipif(
    not BINARIES, reason="needs Debian's package postgresql (/usr/lib/postgresql/*/bin)"
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return one.getsockname()[1]


def wait_for_port(port: int, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        assert time.monotonic() < end, f"nothing answers at port {port}"
        time.sleep(0.05)


class Postgres:
    """A PostgreSQL in a temporary folder, whose `uri` has a password; root lends it to a user."""

    def __init__(self) -> None:
        self.port, self.folder = free_port(), Path(tempfile.mkdtemp(prefix="sweep-postgres-"))
        self._binaries = BINARIES[-1].parent
        self._user: dict[str, str] = {}
        if os.geteuid() == 0:  # as root it does not start
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = {"user": "postgres" if "postgres" in names else "nobody"}
            shutil.chown(self.folder, **self._user)
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "password").chmod(0o644)
        self._run("initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile=password")
        self._process: subprocess.Popen | None = None
        self.start()

    def uri(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@{HOST}:{self.port}/{database}"

    def create(self, database: str, *, tables: bool = False) -> str:
        """The address of a new database of that name; `tables`: with those of MLflow."""
        self.query(f'CREATE DATABASE "{database}"{" TEMPLATE tables" if tables else ""}')
        return self.uri(database)

    def make_tables(self) -> None:
        """Let MLflow make its tables, which takes seconds, to be copied by `create`."""
        code = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1])"
        command = [sys.executable, "-c", code, self.create("tables")]
        subprocess.run(command, env=ENVIRONMENT, check=True, **QUIET)

    def query(self, text: str, database: str = "postgres") -> str:
        return self._run("psql", "-h", HOST, "-p", str(self.port), "-U", USER, "-d", database,
                         "-Atc", text)  # fmt: skip

    def dump(self, database: str) -> str:
        place = ("-h", HOST, "-p", str(self.port), "-U", USER)
        return self._run("pg_dump", *place, database)

    def start(self) -> None:
        settings = ("-c", "fsync=off", "-c", f"unix_socket_directories={self.folder}")
        command = [self._binaries / "postgres", "-D", "data", "-h", HOST, "-p", str(self.port)]
        self._process = subprocess.Popen([*command, *settings], **self._as_user(), **QUIET)
        wait_for_port(self.port)
        for _ in range(100):
            with suppress(subprocess.CalledProcessError):
                self.query("SELECT 1")
                return
            time.sleep(0.1)

    def stop(self) -> None:
        """End it at once, with all its connections, as a machine that goes down."""
        self._process.send_signal(3)
        self._process.wait()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as_user(self) -> dict:
        environment = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"}
        return {"cwd": self.folder, "env": environment, **self._user}

    def _run(self, program: str, *arguments: str) -> str:
        command = [self._binaries / program, *arguments]
        return subprocess.check_output(
            command, text=True, stderr=subprocess.STDOUT, **self._as_user()
        ).strip()


@contextmanager
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        yield server
    finally:
        server.remove()


class MlflowServer:
    """An `mlflow server` on a database; `uri` is its address."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database, self.folder, self.port = database, folder, free_port()
        self.uri = f"http://{HOST}:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--port", str(self.port), "--backend-store-uri", self.database]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        alone = ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes
        self._process = subprocess.Popen(command, env=alone, start_new_session=True, **QUIET)
        for _ in range(1200):
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health"):
                return
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)  # it has workers
            self._process.wait()


class ModelServer:
    """An `mlflow models serve` of the model in a folder, at `port`; it answers when made."""

    def __init__(self, model: Path) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
        command += ["-m", str(model), "-h", HOST, "-p", str(self.port)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for its uvicorn
        alone = ENVIRONMENT | {"PATH": path}
        self._process = subprocess.Popen(
            command, cwd=model, env=alone, start_new_session=True, **QUIET
        )
        try:
            wait_for_port(self.port, 120)
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        os.killpg(self._process.pid, 9)  # the server is a child of it
        self._process.wait()


class Guard(ThreadingHTTPServer):
    """A gate before the server at a port of this machine: 401 for whoever lacks the password.

    `uri` is its address, without one. With a `certificate`, a file that holds its key too, it
    speaks TLS.
    """

    def __init__(self, port: int, certificate: Path | None = None) -> None:
        super().__init__((HOST, 0), _Passing)
        self.behind = port
        self.uri = f"http{'s' if certificate else ''}://{HOST}:{self.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Whoever does not take its certificate hangs up."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Passing(BaseHTTPRequestHandler):
    """One request, passed on as it is."""

    protocol_version = "HTTP/1.1"
    _basic = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    known = (f"Basic {_basic}", f"Bearer {PASSWORD}")

    def _pass_on(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") not in self.known:
            return self._answer(401, b"You are not authenticated.")
        with closing(HTTPConnection(HOST, self.server.behind)) as behind:
            behind.request(self.command, self.path, content, dict(self.headers))
            answer = behind.getresponse()
            return self._answer(answer.status, answer.read(), answer.getheader("Content-Type"))

    def _answer(self, status: int, content: bytes, kind: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def certificate(folder: Path) -> Path:
    """The file of a new certificate for this machine, that nobody has signed, and of its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now, address = datetime.now(UTC), x509.IPAddress(ip_address(HOST))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path, pem = folder / "certificate.pem", serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(pem, *plain) + made.public_bytes(pem))
    return path


def with_password(uri: str, password: str = PASSWORD) -> str:
    """An address that says who asks."""
    return uri.replace("://", f"://{USER}:{password}@")


def told_in(*folders: Path) -> list[Path]:
    """The files in which the password stands."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path for path in files if PASSWORD.encode() in path.read_bytes()]

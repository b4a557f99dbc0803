"""Servers on loopback for tests that need a network: an ASGI app of ours, or a real one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
PATIENCE_SECONDS = 240.0
"""How long a server may take to start on a busy machine."""


@contextlib.contextmanager
def serving(app: ASGIApp, *, grace_seconds: int = 1, http: Any = "auto") -> Iterator[str]:
    """Serve an ASGI app from a thread and yield its base URL, ``http://127.0.0.1:PORT``.

    The port is bound before the thread starts, so that the first request never comes too early.
    Requests that still run at the end get ``grace_seconds``.
    """
    config = uvicorn.Config(
        cast(Any, app),
        http=http,
        log_config=None,
        access_log=False,
        log_level="critical",
        ws="none",
        timeout_graceful_shutdown=grace_seconds,
        backlog=2048,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, 0))
        port = listener.getsockname()[1]
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name=f"server-{port}", daemon=True
        )
        thread.start()
        _wait(lambda: server.started or not thread.is_alive(), f"the app on port {port}")
        try:
            yield f"http://{HOST}:{port}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)


@contextlib.contextmanager
def transformers_serve(model: Path | str, *options: str) -> Iterator[str]:
    """Run ``transformers serve MODEL`` on the CPU and yield its base URL once it is healthy."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model)]
    command += ["--device", "cpu", "--host", HOST, "--port", str(port), *options]
    with _healthy(command, f"http://{HOST}:{port}", {"TOKENIZERS_PARALLELISM": "false"}) as url:
        yield url


@contextlib.contextmanager
def vllm_serve(python: str, model: Path | str, *options: str) -> Iterator[str]:
    """Run vLLM's server with a Python that has it, on the CPU, likewise."""
    port = free_port()
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", HOST, "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    settings = {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": HOST,
    }
    with _healthy([*command, *options], f"http://{HOST}:{port}", settings) as url:
        yield url


@contextlib.contextmanager
def _healthy(command: list[str], url: str, settings: dict[str, str]) -> Iterator[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **settings}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            _wait(lambda: _is_healthy(url) or process.poll() is not None, " ".join(command))
            if process.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"{command} ended at once:\n{log.read()[-4000:]}")
            yield url
        finally:
            kill_group(process)


def free_port() -> int:
    """Return a port on loopback that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started in a session of its own, with its children."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _wait(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not start within {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.02)

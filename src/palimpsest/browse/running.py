"""Life of the page's server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from palimpsest.browse.app import create_app
from palimpsest.browse.index import AnswerIndex
from palimpsest.serve import bound

HOST = "127.0.0.1"


def browse(
    folders: Sequence[Path | str], *, port: int = 0, announce: Callable[[str], None]
) -> None:
    """Show runs at a page of this machine until Ctrl-C.

    Args:
        folders: Of the runs; the first is listed, all are compared.
        port: To listen on; 0 for a free one.
        announce: Told the page's address once it answers.

    Raises:
        UserError: A folder is no run, has no answers, or the port is taken.
    """
    indexes = [AnswerIndex(folder) for folder in folders]
    with bound(HOST, port) as listener:
        announce(f"http://{HOST}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(
            create_app(indexes), log_config=None, access_log=False, ws="none", server_header=False
        )
        uvicorn.Server(config).run(sockets=[listener])

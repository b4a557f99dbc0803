"""Silence of transformers and the hub client, which would write into our output."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Silence the libraries' warnings and progress bars, and put their settings back afterwards.

    Downloads keep their bar when someone is watching, since they can take minutes.
    """
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging as library_logging

    level, loading_bars = library_logging.get_verbosity(), library_logging.is_progress_bar_enabled()
    download_bars = not are_progress_bars_disabled()
    library_logging.set_verbosity(logging.CRITICAL)
    library_logging.disable_progress_bar()  # the hub's as well
    if download_bars and sys.stderr.isatty():
        enable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library_logging.set_verbosity(level)
        if loading_bars:
            library_logging.enable_progress_bar()  # the hub's as well
        if download_bars:
            enable_progress_bars()
        else:
            disable_progress_bars()


@contextmanager
def without_log() -> Iterator[None]:
    """Silence transformers' log alone, which is cheap enough to do at every token."""
    from transformers.utils import logging as library_logging

    level = library_logging.get_verbosity()
    library_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        library_logging.set_verbosity(level)

"""Run every benchmark."""

from __future__ import annotations

from benchmarks import decoding

if __name__ == "__main__":
    decoding.main()

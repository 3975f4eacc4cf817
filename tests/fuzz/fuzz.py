"""Fuzz one target of targets.py: `python tests/fuzz/fuzz.py spec FOLDER -max_total_time=300`, as libFuzzer takes it.

FOLDER holds the inputs that were worth keeping, and gets the target's seeds where it has none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sdbatch"]):
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import targets


def main() -> None:
    """Run until libFuzzer has had enough; what comes out of a target ends the process with a traceback."""
    _, name, folder, *options = sys.argv
    corpus = Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(targets.seeds(name)):
        (corpus / f"seed-{at}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options, str(corpus)], targets.TARGETS[name])
    atheris.Fuzz()


main()

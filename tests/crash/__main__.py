"""The whole crash matrix and the soak, on a real node with Orthanc, RabbitMQ and PostgreSQL.

python -m tests.crash matrix [--out FILE]         every scene, on both databases
python -m tests.crash soak [--out FILE]           10,000 instances of 200 studies from 8 senders, with random kills
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from tests.crash.lines import Line
from tests.crash.matrix import scenes
from tests.crash.soak import soak


def main() -> int:
    """Do what the call asks for; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("matrix", "soak"))
    parser.add_argument("--out", type=Path, help="where the JSON lines go; those of other scenes stay")
    parser.add_argument("--only", default="", help="only scenes whose name holds this")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--instances", type=int, default=50, help="of each study")
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--seed", type=int, default=4)
    arguments = parser.parse_args()
    if arguments.what == "matrix":
        work: Iterable[tuple[Line, Callable[[], Line]]] = scenes()
    else:
        work = [soak(arguments.studies, arguments.instances, arguments.senders, arguments.seed)]
    kept = True
    for line, scene in work:
        if arguments.only in line.name:
            done = _tried(line, scene)
            kept &= done.kept
            if arguments.out:
                _write(arguments.out, done)
    return int(not kept)


def _write(path: Path, line: Line) -> None:
    """Put a line in the place of the one of its name, or behind the others."""
    written = [json.loads(one) for one in path.read_text().splitlines()] if path.exists() else []
    lines = {one["name"]: one for one in written} | {line.name: asdict(line)}
    path.write_text("".join(json.dumps(one) + "\n" for one in lines.values()))


def _tried(line: Line, scene: Callable[[], Line]) -> Line:
    start = time.monotonic()
    try:
        tried = scene()
    except Exception as error:
        traceback.print_exc()
        tried = replace(line, kept=False, told=str(error).partition("\n")[0])
    tried = replace(tried, seconds=round(time.monotonic() - start, 1))
    print(f"{tried.seconds:7.1f} s  {'kept' if tried.kept else 'BROKEN':7} {tried.name}  {tried.told}", file=sys.stderr)
    return tried


if __name__ == "__main__":
    sys.exit(main())

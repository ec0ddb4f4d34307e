"""Generate the stubs in libs/sdk from protos/, or say with --check which are not current."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PROTOS = Path("protos")
_STUBS = Path("libs/sdk")
_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(protos: Path, target: Path) -> None:
    """Write the stubs of every proto below `protos` into `target`.

    Raises:
        subprocess.CalledProcessError: a proto is wrong; protoc has said where.
    """
    names = sorted(str(path) for path in protos.rglob("*.proto"))
    outs = [
        *(f"--{kind}_out={target}" for kind in ("python", "grpc_python")),
        *(f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")),
    ]
    # protoc finds the plug-ins for mypy on the path.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.defpath))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", *outs, *names],
        check=True,
        env={"PATH": path},
    )


def stubs(root: Path) -> dict[str, bytes]:
    """What is generated below `root`, by relative path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*_pb2*.py*"))
        if path.name.endswith(_SUFFIXES)
    }


def differences(protos: Path, target: Path) -> dict[str, bytes | None]:
    """The stubs in `target` that are not what `protos` gives; None: there should be none."""
    with _generated(protos) as fresh:
        there = stubs(target)
        changed: dict[str, bytes | None] = {
            name: content for name, content in fresh.items() if there.get(name) != content
        }
        return changed | {name: None for name in there if name not in fresh}


@contextlib.contextmanager
def _generated(protos: Path) -> Iterator[dict[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        generate(protos, Path(folder))
        yield stubs(Path(folder))


def main(arguments: list[str]) -> int:
    """Bring libs/sdk up to date, or with --check answer 1 if it is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(arguments)
    changed = differences(_PROTOS, _STUBS)
    for name, content in changed.items():
        path = _STUBS / name
        if options.check:
            print(f"{path} is not what protos/ gives: run `make protos`", file=sys.stderr)
        elif content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

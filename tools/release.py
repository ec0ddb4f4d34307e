"""Fix what may only grow from now on: the protos and the public names of the lib packages."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools import api

RELEASED = Path("tests/contract/released")


def main() -> int:
    """Copy the protos beside the contract tests and freeze the names."""
    shutil.rmtree(RELEASED / "tectum", ignore_errors=True)
    shutil.copytree("protos/tectum", RELEASED / "tectum")
    shutil.copy("protos/buf.yaml", RELEASED / "buf.yaml")
    return api.main()


if __name__ == "__main__":
    sys.exit(main())

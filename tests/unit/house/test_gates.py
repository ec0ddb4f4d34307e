"""The suite's own gates: each lets the good pass and catches a case that must fail."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_CONFTEST = Path("tests/conftest.py").resolve()
_CASES = {
    "clean": """
import asyncio
async def test_clean():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.sleep(0))
""",
    "task": """
import asyncio
kept = []
async def test_task():
    kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(60)))
""",
    "thread": """
import threading, time
def test_thread():
    threading.Thread(target=time.sleep, args=(30,), name='stray', daemon=True).start()
""",
    "blocking": """
import libs.clock
async def test_blocking():
    source = "import time\\ndef nap():\\n    time.sleep(0.01)\\n"
    namespace = {}
    exec(compile(source, libs.clock.__file__, "exec"), namespace)
    namespace["nap"]()
""",
}


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A small test suite under our conftest, in a process of its own."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\n")
    (pytester.path / "tests" / "unit").mkdir(parents=True)
    (pytester.path / "tests" / "conftest.py").write_text(_CONFTEST.read_text())
    return pytester


@pytest.mark.timeout(120)  # Starts a whole pytest, which takes many seconds on a busy machine.
def test_what_a_test_leaves_or_blocks_fails(suite: pytest.Pytester) -> None:
    for name, source in _CASES.items():
        (suite.path / "tests" / "unit" / f"test_{name}.py").write_text(source)
    result = suite.runpytest_subprocess("-p", "no:cacheprovider", "-v", "tests")
    result.assert_outcomes(passed=3, failed=1, errors=2)
    result.stdout.fnmatch_lines_random(
        [
            "*test_clean PASSED*",
            "*test_task ERROR*",
            "*test_thread ERROR*",
            "*test_blocking FAILED*",
            "*tasks left running*sleep*",
            "*threads left running*stray*",
            "*Blocking call to time.sleep*",
        ]
    )


@pytest.mark.timeout(120)  # As above.
def test_a_file_outside_of_the_categories_fails_collection(suite: pytest.Pytester) -> None:
    (suite.path / "tests" / "test_it.py").write_text("def test_it():\n    pass\n")
    result = suite.runpytest_subprocess("-p", "no:cacheprovider", "tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*expected it in a folder of unit*"])

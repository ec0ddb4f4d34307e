"""Run the demo: `python -m deploy.demo --out out/demo`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import sys
import time
from pathlib import Path

from rich.table import Table

from deploy.demo.desk import open_desk
from deploy.demo.story import Chapter, Story
from deploy.process import platform
from tectum.cli.console import console
from tectum.cli.sessions import render, save
from tectum.client import connect

DEMONSTRATIONS = Path(__file__).parents[2] / "demonstrations" / "miniwob"


def _free_port() -> int:
    """A port that was free a moment ago: the platform must come back on it after it was killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _tell(out: Path) -> dict[str, float | int]:
    data_dir = out / "data"
    settings = {"TECTUM_RPC_ADDRESS": f"127.0.0.1:{_free_port()}", "TECTUM_BROWSER_SCALE": "2"}
    with open_desk() as desk:
        with platform(data_dir, settings) as first:
            console.print(f"the platform is ready after {first.ready_s:.1f} s on {first.address}")
            async with connect(first.address) as client:
                story = Story(client, desk)
                await story.learn(DEMONSTRATIONS)
                await story.work()
                await story.interrupt()
                await story.lose(first, data_dir, settings)
        with platform(data_dir, settings) as last:
            async with connect(last.address) as client:
                story.platform = client
                await story.audit()
                page = await render(client, story.session_ids, "What the agent did in the demo")
    await asyncio.to_thread(save, out / "report.html", page)
    console.print(_table(story.chapters))
    return story.result()


def _table(chapters: list[Chapter]) -> Table:
    table = Table(title="the demo")
    for heading in ("", "what", "steps", "s", ""):
        table.add_column(heading, justify="right" if heading in ("steps", "s") else "left")
    for chapter in chapters:
        mark = "[green]✓[/green]" if chapter.well else "[red]✗[/red]"
        table.add_row(
            mark, chapter.what, str(chapter.steps), f"{chapter.seconds:.1f}", chapter.note
        )
    return table


def main() -> int:
    """Run the demo, write its result and report; 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    out: Path = parser.parse_args().out
    began = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    result = asyncio.run(_tell(out))
    result["wall_s"] = round(time.monotonic() - began, 1)
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    console.print_json(data=result)
    console.print(f"report: {out / 'report.html'}")
    broken = [
        name for name in ("stale_actions", "duplicate_effects", "lost_events") if result[name]
    ]
    enough = result["solved"] >= 0.9 * result["tasks"] and result["tasks"] >= 10
    if broken or not enough:
        console.print(f"not as promised: {broken or 'too few tasks solved'}", style="bold red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

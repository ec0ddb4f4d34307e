"""The parcel desk: a page of the demo's own, whose server counts every input; a witness outside the platform."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_NAMES = (
    "Ada", "Bela", "Carlo", "Dunja", "Edda", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kaja", "Luca",
    "Mira", "Nils", "Olga", "Pavel", "Quinn", "Rosa", "Samir", "Tove", "Uma", "Viktor", "Wanda", "Yusuf",
)  # fmt: skip
_PARCELS = 12
_BODY_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Report:
    """What one page said: `at` in seconds since the Unix epoch, by the page's clock."""

    instance: str
    kind: str
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class Errand:
    """What to do at the desk with one seed."""

    seed: int
    parcels: tuple[str, ...]
    wanted: tuple[str, ...]

    @property
    def instruction(self) -> str:
        """The errand in words."""
        names = [f'"{name}"' for name in self.wanted]
        return f"Stamp the parcels for {', '.join(names[:-1])} and {names[-1]}, then send."

    @property
    def steps(self) -> list[dict[str, object]]:
        """How a person does it, as steps of a demonstration."""
        stamps: list[dict[str, object]] = [
            {"click": {"role": "button", "name": "Stamp", "row": name}} for name in self.wanted
        ]
        return [*stamps, {"click": {"role": "button", "name": "Send"}}, {"done": None}]


def errand(seed: int, count: int) -> Errand:
    """The errand of a seed with `count` parcels to stamp."""
    dice = random.Random(seed)  # noqa: S311 - a puzzle, not a secret
    parcels = tuple(dice.sample(_NAMES, _PARCELS))
    return Errand(seed, parcels, tuple(dice.sample(parcels, count)))


@dataclass
class Desk:
    """The server's books."""

    address: str = ""
    reports: list[Report] = field(default_factory=list)

    def url(self, task: Errand) -> str:
        """The environment of an errand."""
        return f"browser://http://{self.address}/?seed={task.seed}"

    def instances(self) -> list[str]:
        """The pages that were opened, in order."""
        return [report.instance for report in self.reports if report.kind == "opened"]

    def inputs_after(self, moment: float) -> int:
        """Inputs that a page felt after `moment`, seconds since the Unix epoch."""
        return sum(report.kind == "input" and report.at > moment for report in self.reports)

    def stamps(self, instance: str) -> Counter[str]:
        """How often each parcel was stamped on one page."""
        return Counter(
            r.detail for r in self.reports if r.kind == "stamp" and r.instance == instance
        )

    def repeated(self) -> int:
        """Stamps beyond the first of a parcel on one page: effects that happened twice."""
        return sum(
            count - 1
            for instance in set(self.instances())
            for count in self.stamps(instance).values()
        )

    def done(self, task: Errand, instance: str) -> bool:
        """Whether exactly what was wanted is stamped and sent on this page."""
        sent = any(r.kind == "send" and r.instance == instance for r in self.reports)
        return sent and set(self.stamps(instance)) == set(task.wanted)


@contextmanager
def open_desk() -> Iterator[Desk]:
    """Serve the desk on loopback until the block exits."""
    desk = Desk()
    page = (Path(__file__).parent / "desk.html").read_text()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seed = parse_qs(urlsplit(self.path).query).get("seed", ["0"])[0]
            names = errand(int(seed), 1).parcels if seed.isdecimal() else ()
            self._answer(200, page.replace("__NAMES__", json.dumps(names)).encode())

        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length", 0)), _BODY_BYTES_MAX)
            said = json.loads(self.rfile.read(length))
            desk.reports.append(
                Report(said["instance"], said["kind"], said["detail"], said["at"] / 1e3)
            )
            self._answer(204, b"")

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the demo has a table of its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    desk.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def lesson(desk: Desk, seeds: Sequence[int]) -> list[tuple[Errand, str]]:
    """Errands to demonstrate, of growing length, each with its environment."""
    errands = [errand(seed, 2 + place) for place, seed in enumerate(seeds)]
    return [(task, desk.url(task)) for task in errands]

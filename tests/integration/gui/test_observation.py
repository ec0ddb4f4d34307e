"""What a real Chromium's pages look like to an agent."""

from __future__ import annotations

import json
import re
import time

import pytest

from services.gui.environments.browser import BrowserProvider
from services.gui.environments.settings import BrowserSettings
from services.gui.look import as_text
from tectum.actions.types import Click, KeyChord, Point, SecretRef, SetClipboard, TypeText, Wait
from tectum.event.v1 import observation_pb2
from tectum.wire import to_wire
from tests.integration.gui.drive import Driver, Pages, driving

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(40)]
# 40 s: the first test of the module starts Chromium, on a machine that may be busy.


def golden(driver: Driver) -> str:
    """Roles, names, values, states and the tree; neither ids nor boxes, which depend on fonts."""
    lines = as_text(driver.screen).splitlines()[1:]
    lines = [re.sub(r"^( *)\S+ ", r"\1", line) for line in lines]
    return "\n".join(re.sub(r" \([-\d]+,[-\d]+ \d+x\d+\)$", "", line) for line in lines)


async def test_golden_form(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/form", """<h2>Sign up</h2><form><label for=m>Mail</label> <input id=m required>
      <label><input type=checkbox checked> Agree</label> <input type=radio name=r aria-label=Yes>
      <input value=fixed readonly aria-label=Code> <button disabled>Send</button>
      <a href=/x><b>Terms</b> of use</a> <input type=submit> <span title="More help">?</span></form>
      <details><summary>More</summary>Hidden words</details><div style="display:none">Never</div>
      <div style="visibility:hidden">Nor this</div><script>1</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        assert (
            golden(d)
            == """\
heading text='Sign up' [bold]
form
  text text='Mail'
  textbox name='Mail' [required]
  generic
    checkbox name='Agree' [checked]
    text text='Agree'
  radio name='Yes'
  textbox name='Code' value='fixed' [readonly]
  button name='Send' text='Send' [disabled]
  link name='Terms of use'
  button name='Submit'
  text name='More help' text='?'
group
  button name='More' text='More'"""
        )


async def test_golden_table_list_and_shapes(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/table", """<table><tr><th>Name<th>Age<tr><td>Ann<td>31<tr><td><a href=#>Bob</a><td></table>
      <ul><li>One<li><button>Two</button></ul>
      <svg width=100 height=40><circle cx=20 cy=20 r=10 fill=red /><rect x=40 width=20 height=20 fill="#0000ff" />
      <polygon points="70,0 90,0 80,20" fill=lime /><text x=2 y=38 fill=green>svg</text></svg>
      <div style="width:20px;height:20px;background:orange;border-radius:50%"></div>
      <div style="cursor:pointer"><i>Open</i> <span>it</span></div>""")  # fmt: skip
    async with driving(browser, uri) as d:
        assert (
            golden(d)
            == """\
table
  generic
    row
      columnheader text='Name' [bold]
      columnheader text='Age' [bold]
    row
      cell text='Ann'
      cell text='31'
    row
      cell
        link name='Bob' text='Bob' [underline color:blue]
      cell
list
  listitem text='One'
  listitem
    button name='Two' text='Two'
generic
  graphics-symbol name='red circle'
  graphics-symbol name='blue square'
  graphics-symbol name='lime triangle'
  text text='svg' [color:green]
graphics-symbol name='orange circle'
generic name='Open it' [clickable]
  text text='Open' [italic]
  text text='it'"""
        )


async def test_nothing_of_the_source_is_shown(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/source", """<div id=ID7 class=CLASS7 data-x=DATA7 name=NAME7 onclick="HANDLER7()">
      <button id=ID7b class=CLASS7 value=VALUE7 data-answer=DATA7>Go</button><!-- COMMENT7 --></div>""")  # fmt: skip
    async with driving(browser, uri) as d:
        assert d.one("button", "Go")
        text = as_text(d.screen)
        for word in ("ID7", "CLASS7", "DATA7", "NAME7", "HANDLER7", "COMMENT7"):
            assert word not in text


async def test_frames_and_shadow_roots(browser: BrowserProvider, pages: Pages) -> None:
    pages.put("/inner", "<button onclick=\"this.textContent='pressed'\">Inner</button>")
    uri = pages.put("/frames", """<div style="height:90px"></div><iframe src=/inner></iframe><div id=host></div><script>
      host.attachShadow({mode: 'open'}).innerHTML =
        '<button onclick="this.textContent=`shadowed`">Shade</button>';</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Click(d.at("button", "Inner")))
        assert d.one("button", "pressed").box.y > 90
        await d.do(Click(d.at("button", "Shade")))
        assert d.one("button", "shadowed")


async def test_ids_live_as_long_as_their_nodes(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/ids", """<button onclick="p.remove()">Cut</button><p id=p>Text</p>
      <button onclick="location.reload()">Again</button>""")  # fmt: skip
    async with driving(browser, uri) as d:
        cut, text = d.one("button", "Cut").id, d.one("paragraph").id
        await d.do(Click(Point.element(cut)))
        assert d.one("button", "Cut").id == cut
        assert d.all("paragraph") == []
        gone = await d.try_(Click(Point.element(text)))
        assert gone.reason == "ELEMENT_GONE"
        await d.do(Click(d.at("button", "Again")))
        assert d.one("button", "Cut").id != cut
        assert (await d.try_(Click(Point.element(cut)))).reason == "ELEMENT_GONE"


async def test_covered_elements_say_so_and_are_not_clicked(
    browser: BrowserProvider, pages: Pages
) -> None:
    uri = pages.put("/cover", """<button onclick="document.title='clicked'">Under</button>
      <div role=dialog style="position:fixed;inset:0;background:white">On top</div>""")  # fmt: skip
    async with driving(browser, uri) as d:
        assert "covered" in d.one("button", "Under").states
        refused = await d.try_(Click(d.at("button", "Under")))
        assert refused.reason == "ELEMENT_COVERED"
        assert "On top" in refused.message
        assert d.screen.title == "/cover"


async def test_an_overlay_that_fades_is_waited_for(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/fade", """<button onclick="document.title='clicked'">Under</button>
      <div id=o style="position:fixed;inset:0;background:white"></div>
      <button style="position:fixed;right:0;bottom:0" onclick="setTimeout(() => o.remove(), 250)">Lift</button>
      """)  # fmt: skip
    async with driving(browser, uri) as d:
        under = d.at("button", "Under")
        await d.do(Click(d.at("button", "Lift")))
        await d.do(Click(under))
        assert d.screen.title == "clicked"


async def test_a_wrapped_link_is_hit_on_its_first_line(
    browser: BrowserProvider, pages: Pages
) -> None:
    uri = pages.put("/wrap", """<div style="width:200px">Words before the <a href="#hit">link that wraps over
      two lines</a></div>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Click(d.at("link")))
        assert d.screen.url.endswith("#hit")


async def test_secrets_leave_no_trace(browser: BrowserProvider, pages: Pages) -> None:
    secret = "correct-horse-7"
    uri = pages.put("/secret", """<input type=password aria-label=Password><input aria-label=Plain>
      <button onclick="document.querySelector('input').type='text'">Show</button><p id=p></p>
      <script>document.querySelectorAll('input')[1].oninput = (e) => { p.textContent = e.target.value; };</script>
      """)  # fmt: skip
    async with driving(browser, uri, secrets={"door": secret}) as d:
        results = [await d.try_(TypeText(secret, d.at("textbox", "Password")))]
        assert results[0].reason == "SECRET_NEEDS_REFERENCE"
        assert d.gate.passed == 0
        results.append(await d.try_(TypeText(SecretRef("window"), d.at("textbox", "Password"))))
        assert results[1].reason == "SECRET_UNKNOWN"
        results.append(await d.do(TypeText(SecretRef("door"), d.at("textbox", "Password"))))
        assert "secret" in d.one("textbox", "Password").states
        screens = [d.screen]
        await d.do(Click(d.at("button", "Show")))
        screens.append(d.screen)
        assert "secret" in d.one("textbox", "Password").states
        results.append(await d.do(TypeText(SecretRef("door"), d.at("textbox", "Plain"))))
        screens.append(d.screen)
        assert d.one("paragraph").text == "•••", "the page shows the secret, the observation not"
        await d.do(KeyChord(("Control", "a")))
        await d.do(SetClipboard("x"))
        seen = json.dumps([str(to_wire(screen, observation_pb2.Screen)) for screen in screens])
        assert secret not in seen + repr(results)
        # Against a vacuous test: the page itself did get the secret.
        page = d.environment.tab.page  # type: ignore[attr-defined]
        values = await page.evaluate("[...document.querySelectorAll('input')].map((i) => i.value)")
        assert values == [secret, secret]


async def test_a_huge_page_stays_small_and_quick(browser: BrowserProvider, pages: Pages) -> None:
    rows = "".join(f"<div><span>Row {n}</span><a href=#{n}>open</a></div>" for n in range(5000))
    uri = pages.put(
        "/huge", f"<h1>Huge</h1>{rows}<button style='position:fixed;right:0;top:0'>Last</button>"
    )
    async with driving(browser, uri) as d:
        assert len(d.screen.elements) <= 300
        assert d.screen.elements_omitted > 4000
        assert d.one("heading", "Huge").box is not None
        assert d.one("button", "Last").box is not None, (
            "what is in sight is found behind what is not"
        )
        visible = [element.box is not None for element in d.screen.elements]
        assert visible == sorted(visible, reverse=True), "what is visible comes first"
        size = to_wire(d.screen, observation_pb2.Screen).ByteSize()
        assert size < 256 * 1024
        began = time.monotonic()
        await d.look()
        print(f"huge page: {(time.monotonic() - began) * 1000:.0f} ms, {size} bytes")  # noqa: T201


async def test_a_page_that_never_settles(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/restless", """<p id=p>0</p><button>Press</button><script>
      setInterval(() => { p.textContent = Number(p.textContent) + 1; }, 5);</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Click(d.at("button")))
        assert not d.screen.settled
        await d.do(Wait(0.01))
        assert not d.screen.settled


async def test_a_late_change_is_waited_for(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/late", """<button onclick="step(10)">Go</button><p id=p></p><script>
      const step = (n) => { p.textContent = n ? 'working' + n : 'done'; if (n) setTimeout(step, 20, n - 1); };
      </script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Click(d.at("button")))
        assert (d.one("paragraph").text, d.screen.settled) == ("done", True)


async def test_a_scaled_screen_keeps_points_true(pages: Pages) -> None:
    provider = BrowserProvider(BrowserSettings(width=400, height=300, scale=2.0, screenshot="jpeg"))
    uri = pages.put("/scaled", """<div style="height:100px"></div><button onclick="document.title='hit'">Small</button>
      """)  # fmt: skip
    try:
        async with driving(provider, uri) as d:
            assert (d.screen.size.width, d.screen.scale) == (800, 2.0)
            box = d.one("button").box
            assert box is not None
            assert box.y > 200
            await d.do(Click(Point.screen(*box.centre)))
            assert d.screen.title == "hit"
            assert d.screen.screenshot is not None
            shot = d.blobs.by_hash[d.screen.screenshot.sha256]
            assert shot.startswith(b"\xff\xd8")
    finally:
        await provider.aclose()

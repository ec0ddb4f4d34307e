"""Every kind of action, carried out by a real Chromium on small pages."""

from __future__ import annotations

import hashlib

import pytest

from services.gui.environments.browser import BrowserProvider
from tectum.actions.types import (
    AnswerDialog,
    ClearField,
    Click,
    Drag,
    ElementPoint,
    Focus,
    GetClipboard,
    GoTo,
    HistoryDirection,
    HoldKey,
    Hover,
    KeyChord,
    KeyDown,
    KeyUp,
    LongPress,
    MouseButton,
    MouseDown,
    MouseUp,
    Navigate,
    NormalisedPoint,
    OpenApp,
    OperateTab,
    Pinch,
    Point,
    Screenshot,
    Scroll,
    SelectOption,
    SelectText,
    SetClipboard,
    Swipe,
    TabOperation,
    TypeText,
    UploadFiles,
    Wait,
    WaitUntilStable,
    Zoom,
)
from tectum.geometry import Box
from tectum.plugins import PluginError
from tectum.protocol.messages import OutcomeStatus
from tectum.protocol.types import BlobRef
from tests.integration.gui.drive import Pages, driving

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(40)]
# 40 s: the first test of the module starts Chromium, on a machine that may be busy.

LOG = (
    "<p id=log>-</p><script>const log=(t)=>{document.getElementById('log').textContent=t}</script>"
)


async def test_click_kinds(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/click", LOG + """<button id=b>Press</button><script>
      let n = '';
      for (const k of ['click','dblclick','contextmenu','auxclick']) b.addEventListener(k, (e) => {
        e.preventDefault(); n += `${e.type}${e.button}${e.ctrlKey ? 'C' : ''}${e.shiftKey ? 'S' : ''} `; log(n);
      });</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        at = d.at("button", "Press")
        await d.do(Click(at))
        assert d.one("paragraph").text == "click0"
        await d.do(Click(at, button=MouseButton.RIGHT))
        assert d.one("paragraph").text.endswith("contextmenu2 auxclick2")
        await d.do(Click(at, button=MouseButton.MIDDLE))
        assert d.one("paragraph").text.endswith("auxclick1")
        await d.do(Click(at, count=2))
        assert d.one("paragraph").text.endswith("click0 click0 dblclick0")
        await d.do(Click(at, modifiers=("Control", "shift")))
        assert d.one("paragraph").text.endswith("click0CS")
        result = await d.do(
            Click(Point(ElementPoint(d.one("button").id, NormalisedPoint(0.1, 0.9))))
        )
        assert result.touched == (d.one("button").box,)


async def test_points_of_the_screen(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/points", LOG + """<script>
      addEventListener('click', (e) => log(`${e.clientX},${e.clientY}`));</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Click(Point.screen(200, 300)))
        assert d.one("paragraph").text == "200,300"
        await d.do(Click(Point(NormalisedPoint(0.5, 0.5))))
        assert d.one("paragraph").text == "320,240"
        refused = await d.try_(Click(Point.screen(640, 10)))
        assert (refused.status, refused.reason) == (OutcomeStatus.FAILED, "POINT_OUTSIDE_SCREEN")
        assert d.one("paragraph").text == "320,240"


async def test_hover_and_buttons(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/hover", """<style>#tip{display:none} #h:hover+#tip{display:block}</style>
      <div id=h>Menu</div><div id=tip style="position:absolute;left:300px">Shown</div>""" + LOG + """<script>
      for (const k of ['mousedown','mouseup']) addEventListener(k, (e) => log(`${e.type} ${e.target.id}`));
      </script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        assert "Shown" not in d.texts()
        await d.do(Hover(d.at("text", "Menu")))
        assert "Shown" in d.texts()
        await d.do(MouseDown(d.at("text", "Menu")))
        assert d.one("paragraph").text == "mousedown h"
        await d.do(MouseUp(d.at("paragraph")))
        assert d.one("paragraph").text == "mouseup log"
        await d.do(LongPress(d.at("text", "Menu"), duration_s=0.05))
        assert d.one("paragraph").text == "mouseup h"


async def test_drag_html5_and_pointer(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/drag", """<div id=a draggable=true style="width:80px;height:30px">Card</div>
      <div id=z style="width:200px;height:100px;background:pink">Zone</div><input type=range min=0 max=10 value=0
      aria-label=Volume style="width:200px">""" + LOG + """<script>
      a.ondragstart = (e) => e.dataTransfer.setData('text/plain', 'card');
      z.ondragover = (e) => e.preventDefault();
      z.ondrop = (e) => { e.preventDefault(); log('dropped ' + e.dataTransfer.getData('text/plain')); };
      </script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Drag((d.at("text", "Card"), d.at("text", "Zone"))))
        assert d.one("paragraph").text == "dropped card"
        slider = d.one("slider", "Volume").id
        start = Point(ElementPoint(slider, NormalisedPoint(0.04, 0.5)))
        await d.do(Swipe(start, Point(ElementPoint(slider, NormalisedPoint(0.96, 0.5)))))
        assert d.one("slider").value == "10"
        await d.do(TypeText("4", d.at("slider")))
        assert d.one("slider").value == "4"
        refused = await d.try_(TypeText("40", d.at("slider")))
        assert refused.reason == "VALUE_REFUSED"
        assert d.one("slider").value == "4"


async def test_a_drag_ends_past_the_middle(browser: BrowserProvider, pages: Pages) -> None:
    box = '<div style="width:100px;height:40px">{}</div>'
    uri = pages.put("/past", "<body style='margin:0;user-select:none'>" + box.format("Up") + box.format("Down") + """<p id=log>-</p>
      <script>addEventListener('mouseup', (e) => { log.textContent = e.clientY; });</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Drag((d.at("text", "Up"), d.at("text", "Down"))))
        assert 60 < float(d.one("paragraph").text) < 70
        await d.do(Drag((d.at("text", "Down"), d.at("text", "Up"))))
        assert 10 < float(d.one("paragraph").text) < 20
        middle = Point(ElementPoint(d.one("text", "Down").id, NormalisedPoint(0.5, 0.5)))
        await d.do(Drag((d.at("text", "Up"), middle)))
        assert float(d.one("paragraph").text) == 60


async def test_scroll_page_and_box(browser: BrowserProvider, pages: Pages) -> None:
    rows = "".join(f"<div style='height:40px'>Row {n}</div>" for n in range(60))
    uri = pages.put("/scroll", f"<div style='height:100px;overflow:auto' id=box>{rows}</div>{rows}")
    async with driving(browser, uri) as d:
        await d.do(Scroll(None, 0, 600))
        assert d.screen.scroll_y == 600
        await d.do(Scroll(None, 0, -600))
        assert d.screen.scroll_y == 0
        first = d.all("text", "Row 0")[0]
        await d.do(Scroll(Point.element(first.id), 0, 400))
        assert d.screen.scroll_y == 0
        seen = [e.text for e in d.all("text") if e.box and e.box.y < 100]
        assert "Row 11" in seen
        assert "Row 0" not in seen


async def test_an_element_below_the_fold_is_brought_into_view(
    browser: BrowserProvider, pages: Pages
) -> None:
    uri = pages.put("/fold", LOG + """<div style="height:3000px"></div>
      <button onclick="log('pressed')">Far</button>""")  # fmt: skip
    async with driving(browser, uri) as d:
        far = d.one("button", "Far")
        assert far.box is None
        assert "offscreen" in far.states
        await d.do(Click(Point.element(far.id)))
        assert d.one("button", "Far").box is not None
        assert d.one("paragraph").text == "pressed"


async def test_type_into_every_kind_of_field(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/type", """<form onsubmit="event.preventDefault(); log('sent ' + t.value)">
      <label>Text <input id=t></label><label>Day <input type=date></label>
      <label>Hour <input type=time></label><label>Month <input type=month></label>
      <label>Ink <input type=color></label><label>Count <input type=number></label>
      <label>Few <input type=number style="width:30px"></label><button>Send</button></form>
      <label>Note <textarea></textarea></label><div contenteditable aria-label=Rich>old</div>""" + LOG)  # fmt: skip
    async with driving(browser, uri) as d:
        for name, role, text in (
            ("Text", "textbox", "Grüße, 7!"),
            ("Day", "date", "2026-11-22"),
            ("Hour", "time", "17:45"),
            ("Month", "month", "2026-02"),
            ("Ink", "color", "#ff8800"),
            ("Count", "spinbutton", "42"),
            # In its middle lie the arrows that the pointer brings up: -1 would stand before it.
            ("Few", "spinbutton", "5"),
            ("Note", "textbox", "two\nlines"),
        ):
            await d.do(TypeText(text, d.at(role, name)))
            assert d.one(role, name).value == text
        await d.do(TypeText("new", d.at("textbox", "Rich"), clear=True))
        assert d.one("textbox", "Rich").value == "new"
        await d.do(TypeText("again", d.at("textbox", "Text"), clear=True, submit=True))
        assert d.one("paragraph").text == "sent again"
        await d.do(ClearField(d.at("textbox", "Text")))
        assert d.one("textbox", "Text").value == ""
        await d.do(ClearField(d.at("date", "Day")))
        assert d.one("date", "Day").value == ""
        refused = await d.try_(TypeText("x", d.at("paragraph")))
        assert refused.reason == "NOT_EDITABLE"


async def test_keys(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/keys", LOG + """<input aria-label=Field value=abc><script>let t='';
      for (const k of ['keydown','keyup']) addEventListener(k, (e) => {
        t += `${e.type === 'keydown' ? '+' : '-'}${e.key}`; log(t); });</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Focus(d.at("textbox", "Field")))
        assert d.screen.focused_id == d.one("textbox").id
        await d.do(KeyChord(("Control", "a")))
        assert d.one("paragraph").text == "+Control+a-a-Control"
        await d.do(KeyChord(("Backspace",)))
        assert d.one("textbox").value == ""
        await d.do(HoldKey(("ArrowLeft",), 0.01))
        await d.do(KeyDown("Shift"))
        await d.do(KeyChord(("x",)))
        await d.do(KeyUp("Shift"))
        assert d.one("textbox").value == "X"
        assert d.one("paragraph").text.endswith("+ArrowLeft-ArrowLeft+Shift+X-X-Shift")
        refused = await d.try_(KeyChord(("Hyperspace",)))
        assert refused.reason == "KEY_UNKNOWN"


async def test_select_options(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/select", """<label>Fruit <select id=s onchange="log(s.value)"><option>Apple<option>Pear
      <option disabled>Plum</select></label><select multiple aria-label=Many><option>A<option>B<option>C
      </select>""" + LOG)  # fmt: skip
    async with driving(browser, uri) as d:
        assert [e.name for e in d.all("option")] == ["A", "B", "C", "Apple", "Pear", "Plum"]
        assert {e.parent_id for e in d.all("option")[3:]} == {d.one("combobox", "Fruit").id}
        await d.do(SelectOption(d.at("combobox", "Fruit"), ("Pear",)))
        assert (d.one("combobox").value, d.one("paragraph").text) == ("Pear", "Pear")
        await d.do(SelectOption(d.at("option", "Apple"), ("Apple",)))
        assert d.one("combobox").value == "Apple"
        await d.do(SelectOption(d.at("listbox", "Many"), ("A", "C")))
        assert d.one("listbox").value == "A, C"
        await d.do(Click(d.at("option", "B")))
        assert d.one("listbox").value == "B"
        for labels, reason in ((("Fig",), "OPTION_UNKNOWN"), (("Plum",), "OPTION_UNKNOWN")):
            assert (await d.try_(SelectOption(d.at("combobox"), labels))).reason == reason
        assert (await d.try_(Click(d.at("option", "Pear")))).reason == "OPTION_NEEDS_SELECT"
        assert (await d.try_(SelectOption(d.at("paragraph"), ("A",)))).reason == "NOT_A_LIST"


async def test_select_text_and_clipboard(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/clip", """<p>The quick <b>brown</b> fox</p><input aria-label=Into>
      <textarea aria-label=From>one two three</textarea>""")  # fmt: skip
    async with driving(browser, uri) as d, driving(browser, uri) as other:
        await d.do(SelectText(d.at("paragraph"), text="quick brown"))
        await d.do(KeyChord(("Control", "c")))
        assert (await d.do(GetClipboard())).result == "quick brown"
        await d.do(Click(d.at("textbox", "Into")))
        await d.do(KeyChord(("Control", "v")))
        assert d.one("textbox", "Into").value == "quick brown"
        assert (await other.do(GetClipboard())).result == "", "another context sees this clipboard"
        await other.do(Click(other.at("textbox", "Into")))
        await other.do(KeyChord(("Control", "v")))
        assert other.one("textbox", "Into").value == ""
        await d.do(SelectText(d.at("textbox", "From"), text="two"))
        await d.do(KeyChord(("Control", "x")))
        assert d.one("textbox", "From").value == "one  three"
        await d.do(SetClipboard("given"))
        await d.do(ClearField(d.at("textbox", "Into")))
        await d.do(KeyChord(("Control", "v")))
        assert d.one("textbox", "Into").value == "given"
        assert (await d.try_(SelectText(d.at("paragraph"), text="cat"))).reason == "TEXT_NOT_FOUND"


async def test_upload(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/upload", LOG + """<input type=file id=f hidden><button onclick="f.click()">Attach</button>
      <script>f.onchange = async () => log(f.files[0].name + ': ' + await f.files[0].text());</script>
      """)  # fmt: skip
    async with driving(browser, uri) as d:
        data = b"seven lines"
        ref = BlobRef(await d.blobs.put(data, "text/plain"), len(data), "text/plain")
        await d.do(UploadFiles(d.at("button", "Attach"), (ref,), ("notes.txt",)))
        assert d.one("paragraph").text == "notes.txt: seven lines"
        unknown = BlobRef(hashlib.sha256(b"?").hexdigest(), 1, "text/plain")
        refused = await d.try_(UploadFiles(d.at("button"), (unknown,), ("x",)))
        assert refused.reason == "FILE_UNKNOWN"
        refused = await d.try_(UploadFiles(d.at("paragraph"), (ref,), ("x",)))
        assert refused.reason == "NOT_A_FILE_FIELD"


async def test_tabs_popups_and_history(browser: BrowserProvider, pages: Pages) -> None:
    pages.put("/two", "<h1>Second</h1><a href=/one>back to one</a>")
    uri = pages.put(
        "/one", "<h1>First</h1><a href=/two>here</a> <a href=/two target=_blank>beside</a>"
    )
    async with driving(browser, uri) as d:
        await d.do(Click(d.at("link", "here")))
        assert d.one("heading").text == "Second"
        await d.do(Navigate(HistoryDirection.BACK))
        assert d.one("heading").text == "First"
        await d.do(Navigate(HistoryDirection.FORWARD))
        assert d.screen.url == f"{pages.origin}/two"
        await d.do(GoTo(f"{pages.origin}/one"))
        before = pages.requests.count("/one")
        await d.do(Navigate(HistoryDirection.RELOAD))
        assert pages.requests.count("/one") == before + 1
        await d.do(Click(d.at("link", "beside")))
        assert d.one("heading").text == "Second"
        assert [tab.active for tab in d.screen.tabs] == [False, True]
        await d.do(OperateTab(TabOperation.FOCUS, 0))
        assert d.one("heading").text == "First"
        await d.do(OperateTab(TabOperation.NEW))
        assert (len(d.screen.tabs), d.screen.url) == (3, "about:blank")
        await d.do(OperateTab(TabOperation.CLOSE, 2))
        await d.do(OperateTab(TabOperation.CLOSE, 0))
        assert d.one("heading").text == "Second"
        assert (await d.try_(OperateTab(TabOperation.CLOSE, 0))).reason == "LAST_TAB"
        assert (await d.try_(OperateTab(TabOperation.FOCUS, 5))).reason == "TAB_UNKNOWN"
        assert (await d.try_(GoTo("http://127.0.0.1:1/"))).reason == "PAGE_UNREACHABLE"
        assert (await d.try_(GoTo("file:///etc/passwd"))).reason == "URL_REFUSED"


async def test_dialogs_stay_open_until_answered(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/dialogs", LOG + """<button onclick="log(String(confirm('Sure?')))">Ask</button>
      <button onclick="log(prompt('Name?', 'x'))">Name</button>
      <button onclick="alert('Hello'); log('told')">Tell</button>""")  # fmt: skip
    async with driving(browser, uri) as d:
        ask, name, tell = (d.at("button", n) for n in ("Ask", "Name", "Tell"))
        await d.do(Click(ask))
        assert (d.screen.dialog, d.screen.elements) == ("confirm: Sure?", ())
        assert (await d.try_(Click(name))).reason == "DIALOG_OPEN"
        await d.do(AnswerDialog(accept=True))
        assert (d.screen.dialog, d.one("paragraph").text) == ("", "true")
        await d.do(Click(ask))
        await d.do(AnswerDialog(accept=False))
        assert d.one("paragraph").text == "false"
        await d.do(Click(name))
        await d.do(AnswerDialog(accept=True, text="Ada"))
        assert d.one("paragraph").text == "Ada"
        await d.do(Click(tell))
        await d.do(Wait(0.01))
        assert d.screen.dialog == "alert: Hello"
        await d.do(AnswerDialog(accept=True))
        assert d.one("paragraph").text == "told"
        assert (await d.try_(AnswerDialog(accept=True))).reason == "NO_DIALOG"


async def test_looking_without_touching(browser: BrowserProvider, pages: Pages) -> None:
    uri = pages.put("/look", "<h1>Big</h1>")
    async with driving(browser, uri) as d:
        d.gate.limit = 0
        assert d.screen.screenshot is not None
        shot = d.blobs.by_hash[d.screen.screenshot.sha256]
        assert shot.startswith(b"\x89PNG")
        await d.do(Screenshot())
        await d.do(WaitUntilStable())
        zoomed = await d.do(Zoom(Box(0, 0, 100, 75)))
        assert d.blobs.by_hash[zoomed.result].startswith(b"\x89PNG")
        assert (await d.try_(Zoom(Box(600, 0, 100, 75)))).reason == "POINT_OUTSIDE_SCREEN"
        assert d.gate.passed == 0
        with pytest.raises(PluginError) as held:
            await d.do(Click(d.at("heading")))
        assert held.value.reason == "HELD"


async def test_what_a_browser_cannot_do_is_named(browser: BrowserProvider, pages: Pages) -> None:
    async with driving(browser, pages.put("/none", "<p>-</p>")) as d:
        for kind, name in ((OpenApp("x"), "open_app"), (Pinch(d.at("paragraph"), 2.0), "pinch")):
            refused = await d.try_(kind)
            assert refused.reason == "ACTION_UNSUPPORTED"
            assert name in refused.message


async def test_a_hold_in_the_middle_of_typing_stops_after_the_current_key(
    browser: BrowserProvider, pages: Pages
) -> None:
    uri = pages.put("/held", """<input aria-label=Field><script>window.keys = 0;
      addEventListener('keydown', () => { document.title = String(++window.keys); });</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        await d.do(Click(d.at("textbox")))
        d.gate.limit = d.gate.passed + 4
        with pytest.raises(PluginError) as held:
            await d.do(TypeText("abcdefghij"))
        assert held.value.reason == "HELD"
        await d.look()
        assert (d.screen.title, d.one("textbox").value) == ("4", "abcd")
        d.gate.limit += 100
        await d.do(TypeText("z"))
        assert d.one("textbox").value == "abcdz"


async def test_what_a_hold_left_pressed_is_released_first(
    browser: BrowserProvider, pages: Pages
) -> None:
    uri = pages.put("/stuck", LOG + """<script>let t='';
      for (const k of ['mousedown','mouseup','keydown','keyup']) addEventListener(k, (e) => {
        t += `${e.type}${e.key || ''} `; log(t); });</script>""")  # fmt: skip
    async with driving(browser, uri) as d:
        d.gate.limit = d.gate.passed + 1
        with pytest.raises(PluginError):
            await d.do(KeyChord(("Shift", "x")))
        await d.look()
        assert d.one("paragraph").text == "keydownShift"
        d.gate.limit += 100
        await d.do(KeyChord(("y",)))
        assert d.one("paragraph").text == "keydownShift keyupShift keydowny keyupy"

// Where an element receives the pointer, and what a field is.
(() => {
  const T = globalThis.tectum;

  const elementOf = (node) => (node.nodeType === 3 ? node.parentElement : node);

  const origin = (node) => {
    let x = 0, y = 0;
    let view = node.ownerDocument.defaultView;
    for (let n = 0; view && view !== window && view.frameElement && n < 20; n++) {
      const rect = view.frameElement.getBoundingClientRect();
      x += rect.left + view.frameElement.clientLeft;
      y += rect.top + view.frameElement.clientTop;
      view = view.frameElement.ownerDocument.defaultView;
    }
    return { x, y };
  };

  const rectsOf = (node) => {
    let at = node;
    if (T.tag(at) === 'option' && !at.getClientRects().length) at = at.closest('select') || at;
    let rects;
    if (at.nodeType === 3) {
      const range = at.ownerDocument.createRange();
      range.selectNodeContents(at);
      rects = Array.from(range.getClientRects());
    } else rects = Array.from(at.getClientRects());
    rects = rects.filter((r) => r.width >= 1 && r.height >= 1);
    if (!rects.length && at.labels) {
      rects = Array.from(at.labels).flatMap((label) => Array.from(label.getClientRects()));
    }
    const by = origin(at);
    return rects.map((r) => ({
      left: r.left + by.x, top: r.top + by.y, width: r.width, height: r.height,
    }));
  };

  const inView = (x, y) => x >= 0 && y >= 0 && x < innerWidth && y < innerHeight;

  const placeOf = (node, offset) => {
    const rects = rectsOf(node);
    if (!rects.length) return { state: 'NO_BOX' };
    const tries = offset ? [[offset.x, offset.y]] : T.TRIES;
    let shown = false, cover = null;
    for (const rect of offset ? rects.slice(0, 1) : rects.slice(0, 8)) {
      for (const [fx, fy] of tries) {
        // The far edges do not belong to a box.
        const x = rect.left + Math.min(fx * rect.width, rect.width - 0.5);
        const y = rect.top + Math.min(fy * rect.height, rect.height - 0.5);
        if (!inView(x, y)) continue;
        shown = true;
        const hit = T.hit(x, y);
        if (T.receives(node, hit)) {
          return { state: 'HIT', x, y, 
            box: [rect.left, rect.top, rect.width, rect.height].map(T.rounded) };
        }
        cover = cover || hit;
      }
    }
    if (!shown) return { state: 'OFFSCREEN' };
    // Scrolled out of a box of its own, it is as if below the fold: nothing lies on top of it.
    const at = elementOf(node);
    const clipped = cover && T.isInside(at, cover);
    return { state: clipped ? 'OFFSCREEN' : 'COVERED', by: cover ? nameOf(cover) : 'nothing' };
  };

  const nameOf = (el) => `${T.role(el)} ${JSON.stringify(T.textOf(el, 40))}`;

  // Wait until the element receives the pointer; CSS pixels, milliseconds.
  T.place = async (id, offset, wait) => {
    const end = performance.now() + wait;
    for (;;) {
      const node = T.nodeOf(id);
      if (!node) return { state: 'GONE' };
      const found = placeOf(node, offset);
      if (found.state === 'HIT' || found.state === 'OFFSCREEN' || performance.now() >= end) return found;
      await new Promise((done) => setTimeout(done, 16));
    }
  };

  T.bring = (id) => {
    const node = T.nodeOf(id);
    if (!node) return false;
    elementOf(node).scrollIntoView({ block: 'center', inline: 'nearest', behavior: 'instant' });
    return true;
  };

  const EDITABLE = new Set(['textbox', 'searchbox', 'spinbutton', 'date', 'time', 'month', 'week',
    'datetime', 'color', 'slider', 'combobox']);

  const fieldOf = (el) => {
    if (!el) return null;
    const tag = T.tag(el);
    const text = tag === 'input' || tag === 'textarea' || el.isContentEditable;
    return {
      id: T.idOf(el), tag, type: tag === 'input' ? el.type : '', role: T.role(el),
      editable: text && EDITABLE.has(T.role(el)) && !el.readOnly && !el.disabled,
      secret: tag === 'input' || tag === 'textarea' ? T.secret(el) : false,
      suggests: el.getAttribute('aria-autocomplete') !== null || el.getAttribute('list') !== null
        || el.getAttribute('role') === 'combobox' || el.autocomplete === 'off',
    };
  };
  T.focusedField = () => fieldOf(T.activeElement());
  T.field = (id) => { const node = T.nodeOf(id); return node ? fieldOf(elementOf(node)) : null; };
  T.fieldAt = (x, y) => {
    const hit = T.hit(x, y);
    const field = hit && (hit.closest('input,textarea,select,[contenteditable]')
      || (hit.closest('label') || {}).control);
    return fieldOf(field || hit);
  };

  T.focus = (id) => {
    const node = T.nodeOf(id);
    if (!node) return false;
    elementOf(node).focus({ preventScroll: false });
    return true;
  };

  // What was typed from a secret is not shown again, on the screen or in the tree.
  T.guardFocused = () => {
    const el = T.activeElement();
    if (!el) return;
    T.taint(el);
    if (el.type !== 'password') el.style.setProperty('-webkit-text-security', 'disc', 'important');
  };

  T.selectAllIn = () => {
    const el = T.activeElement();
    if (!el) return false;
    if (el.select) el.select();
    else el.ownerDocument.getSelection().selectAllChildren(el);
    return true;
  };

  // Set a field whose parts swallow keys (date, time, colour, slider), as its picker would.
  T.setValue = (id, value) => {
    const el = T.nodeOf(id);
    if (!el) return { error: 'ELEMENT_GONE' };
    const before = el.value;
    const proto = el.ownerDocument.defaultView.HTMLInputElement.prototype;
    Object.getOwnPropertyDescriptor(proto, 'value').set.call(el, value);
    const wrong = el.type === 'range' ? Number(el.value) !== Number(value)
      : el.value === '' && value !== '';
    if (wrong || (el.type === 'color' && el.value !== value.toLowerCase())) {
      Object.getOwnPropertyDescriptor(proto, 'value').set.call(el, before);
      return { error: 'VALUE_REFUSED', type: el.type, min: el.min, max: el.max, step: el.step };
    }
    el.dispatchEvent(new Event('input', { bubbles: true, composed: true }));
    el.dispatchEvent(new Event('change', { bubbles: true }));
    return { value: el.value };
  };

  T.choose = (id, labels) => {
    let el = T.nodeOf(id);
    if (el && T.tag(el) === 'option') el = el.closest('select');
    if (!el) return { error: 'ELEMENT_GONE' };
    if (T.tag(el) !== 'select') return { error: 'NOT_A_LIST' };
    const options = Array.from(el.options);
    const wanted = labels.map((label) => options.find((o) => T.clean(o.label) === T.clean(label)
      || T.clean(o.text) === T.clean(label)));
    const missing = labels.find((_, i) => !wanted[i] || wanted[i].disabled);
    if (missing !== undefined) {
      return { error: 'OPTION_UNKNOWN', missing,
        known: options.slice(0, 20).map((o) => T.clean(o.label)) };
    }
    if (wanted.length > 1 && !el.multiple) return { error: 'NOT_MULTIPLE' };
    el.focus();
    if (!el.multiple) el.value = wanted[0].value, el.selectedIndex = wanted[0].index;
    else for (const option of options) option.selected = wanted.includes(option);
    el.dispatchEvent(new Event('input', { bubbles: true, composed: true }));
    el.dispatchEvent(new Event('change', { bubbles: true }));
    return { value: Array.from(el.selectedOptions, (o) => o.label) };
  };

  T.listAt = (x, y) => {
    const hit = T.hit(x, y);
    const list = hit && (hit.closest('select') || (hit.closest('label') || {}).control);
    return list ? T.idOf(list) : '';
  };
  T.idAt = (x, y) => {
    const hit = T.hit(x, y);
    const inputs = hit && (hit.closest('label') || {}).control;
    return hit ? T.idOf(inputs || hit) : '';
  };

  T.whole = (id) => {
    const node = T.nodeOf(id);
    if (!node) return null;
    const rects = rectsOf(node);
    return rects.length ? { first: rects[0], last: rects[rects.length - 1] } : null;
  };

  // Where a text stands inside an element: start and end of its first occurrence, CSS pixels.
  T.selectPhrase = (id, phrase) => {
    const node = T.nodeOf(id);
    if (!node) return { error: 'ELEMENT_GONE' };
    const el = elementOf(node);
    if (T.tag(el) === 'input' || T.tag(el) === 'textarea') {
      const from = phrase ? el.value.indexOf(phrase) : 0;
      if (from < 0) return { error: 'TEXT_NOT_FOUND' };
      el.focus();
      el.setSelectionRange(from, phrase ? from + phrase.length : el.value.length);
      return { done: true };
    }
    const walker = el.ownerDocument.createTreeWalker(el, NodeFilter.SHOW_TEXT);
    const parts = [];
    let all = '';
    while (walker.nextNode()) {
      parts.push([all.length, walker.currentNode]);
      all += walker.currentNode.data;
    }
    const from = phrase ? all.indexOf(phrase) : 0;
    if (from < 0 || !parts.length) return { error: 'TEXT_NOT_FOUND' };
    const find = (offset) => {
      for (let i = parts.length - 1; i >= 0; i--) {
        if (offset >= parts[i][0]) return [parts[i][1], offset - parts[i][0]];
      }
      return [parts[0][1], 0];
    };
    const range = el.ownerDocument.createRange();
    range.setStart(...find(from));
    const [endNode, endOffset] = find(phrase ? from + phrase.length : all.length);
    range.setEnd(endNode, Math.min(endOffset, endNode.data.length));
    const rects = Array.from(range.getClientRects()).filter((r) => r.width > 0);
    if (!rects.length) return { error: 'TEXT_NOT_FOUND' };
    const by = origin(el);
    const first = rects[0], end = rects[rects.length - 1];
    return {
      from: [first.left + by.x + 0.5, first.top + by.y + first.height / 2],
      to: [end.right + by.x - 0.01, end.top + by.y + end.height / 2],
    };
  };
  T.selection = () => String(getSelection());

  // Quiet: no change of the document, no scrolling and no running animation for `quiet` ms.
  T.quiet = (quiet, limit, exclude) => new Promise((done) => {
    const start = performance.now();
    let moved = start;
    const ignored = (target) => {
      const el = elementOf(target);
      return el && exclude.some((selector) => el.closest && el.closest(selector));
    };
    const observer = new MutationObserver((changes) => {
      if (!exclude.length || changes.some((c) => !ignored(c.target))) moved = performance.now();
    });
    observer.observe(document, {
      subtree: true, childList: true, attributes: true, characterData: true,
    });
    const scrolled = () => { moved = performance.now(); };
    document.addEventListener('scroll', scrolled, true);
    const finish = (settled) => {
      observer.disconnect();
      document.removeEventListener('scroll', scrolled, true);
      done(settled);
    };
    // Endless animations (spinners, carets) are decoration: nobody waits for their end.
    const animated = () => document.getAnimations().some((a) => a.playState === 'running'
      && a.effect && a.effect.getComputedTiming().endTime !== Infinity);
    const check = () => {
      const now = performance.now();
      if (animated()) moved = now;
      if (now - moved >= quiet) finish(true);
      else if (now - start >= limit) finish(false);
      else setTimeout(check, Math.max(1, Math.min(quiet - (now - moved), limit - (now - start))));
    };
    check();
  });
})();

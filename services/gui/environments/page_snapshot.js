// One observation: the visible document as a bounded list of elements, walked once.
(() => {
  const T = globalThis.tectum;
  const SKIP = new Set(['script', 'style', 'template', 'noscript', 'head', 'link', 'meta', 'title']);
  const CHECKABLE = new Set(['checkbox', 'radio', 'switch', 'menuitemcheckbox', 'menuitemradio']);
  const KEEP_EMPTY = new Set([
    'img', 'canvas', 'progressbar', 'meter', 'video', 'audio', 'cell', 'columnheader', 'tab',
  ]);

  const valueOf = (el, role, secret) => {
    if (secret) return '';
    const tag = T.tag(el);
    if (tag === 'input') {
      if (CHECKABLE.has(role) || role === 'button') return '';
      if (role === 'file') return Array.from(el.files, (f) => f.name).join(', ').slice(0, 500);
      return el.value.slice(0, 2000);
    }
    if (tag === 'textarea') return el.value.slice(0, 2000);
    if (tag === 'select') return Array.from(el.selectedOptions, (o) => T.clean(o.label)).join(', ');
    if (tag === 'progress' || tag === 'meter') return String(el.value);
    if (el.isContentEditable) return T.clean(el.innerText, 2000);
    return el.getAttribute('aria-valuetext') || el.getAttribute('aria-valuenow') || '';
  };

  const aria = (el, name) => el.getAttribute(`aria-${name}`);
  const statesOf = (el, role, out) => {
    const tag = T.tag(el);
    if (CHECKABLE.has(role) && (el.checked || aria(el, 'checked') === 'true')) out.push('checked');
    if ((el.matches(':disabled')) || aria(el, 'disabled') === 'true') out.push('disabled');
    if (aria(el, 'expanded') === 'true' || ((tag === 'details' || tag === 'dialog') && el.open)) {
      out.push('expanded');
    } else if (aria(el, 'expanded') === 'false') out.push('collapsed');
    if (aria(el, 'pressed') === 'true') out.push('pressed');
    if (el.readOnly || aria(el, 'readonly') === 'true') out.push('readonly');
    if (el.required || aria(el, 'required') === 'true') out.push('required');
    if ((tag === 'option' && el.selected) || aria(el, 'selected') === 'true') out.push('selected');
    if (el === T.focusedNow) out.push('focused');
    if (tag === 'textarea' || aria(el, 'multiline') === 'true') out.push('multiline');
  };

  const styleStates = (style, backdrop, out, svg = false) => {
    if (parseInt(style.fontWeight, 10) >= 600) out.push('bold');
    if (style.fontStyle === 'italic') out.push('italic');
    if (style.textDecorationLine.includes('underline')) out.push('underline');
    if (style.textDecorationLine.includes('line-through')) out.push('struck');
    const ink = T.colour(svg ? style.fill : style.color);
    if (ink && ink !== 'black') out.push(`color:${ink}`);
    if (backdrop) out.push(`background:${backdrop}`);
  };

  const intersect = (a, b) => {
    const left = Math.max(a.left, b.left), top = Math.max(a.top, b.top);
    const right = Math.min(a.right, b.right), bottom = Math.min(a.bottom, b.bottom);
    return { left, top, right, bottom };
  };
  const empty = (r) => r.right - r.left < 1 || r.bottom - r.top < 1;
  const shifted = (r, by) => ({
    left: r.left + by.x, top: r.top + by.y, right: r.right + by.x, bottom: r.bottom + by.y,
  });

  // Walks one document; `walk` returns how many elements it kept beneath a node.
  class Walk {
    constructor(limits, excluded) {
      this.kept = [];
      this.offscreen = 0;
      this.omitted = 0;
      this.visited = 0;
      this.limits = limits;
      this.excluded = excluded;
    }

    exhausted() {
      return this.visited > this.limits.nodes;
    }

    // Rectangle of a node for its box: the first one that shows, since a wrapped link is hit there.
    box(node, at) {
      let rects;
      if (node.nodeType === 3) {
        const range = node.ownerDocument.createRange();
        range.selectNodeContents(node);
        rects = range.getClientRects();
      } else rects = node.getClientRects();
      let hidden = null;
      for (const raw of rects) {
        const rect = shifted(raw, at.origin);
        if (rect.right - rect.left < 1 && rect.bottom - rect.top < 1) continue;
        const seen = intersect(rect, at.clip);
        if (!empty(seen)) return { seen };
        hidden = rect;
      }
      return hidden ? { seen: null } : null;
    }

    keep(node, at, fields, box) {
      const visible = Boolean(box && box.seen);
      if (!visible) this.offscreen++;
      const item = { node, parent: at.parent, visible, box: visible ? box.seen : null, ...fields };
      if (!visible && !fields.unseen) item.states.push('offscreen');
      this.kept.push(item);
      return item;
    }

    text(node, at, style) {
      const text = T.clean(node.data);
      if (!text || at.quiet || at.ghost) return 0;
      const box = this.box(node, at);
      if (!box || (!box.seen && this.offscreen >= this.limits.offscreen)) {
        if (box) this.omitted++;
        return 0;
      }
      const states = [];
      styleStates(style, '', states, Boolean(node.parentElement && node.parentElement.ownerSVGElement));
      this.keep(node, at, { role: 'text', name: '', value: '', states, text }, box);
      return 1;
    }

    walk(el, at) {
      if (this.visited++ > this.limits.nodes) { this.omitted++; return 0; }
      const tag = T.tag(el);
      if (SKIP.has(tag) || this.excluded.has(el)) return 0;
      // First, since it is cheap: a page of ten thousand rows is mostly this.
      if (this.offscreen >= this.limits.offscreen && this.isFarOff(el, at)) return 0;
      const style = getComputedStyle(el);
      if (style.display === 'none') return 0;
      if (tag === 'select') return this.select(el, at, style);
      const role = T.role(el);
      const shown = style.visibility === 'visible';
      const ghost = at.ghost || style.opacity === '0';
      const widget = T.WIDGETS.has(role);
      const box = shown && (!ghost || widget) ? this.box(el, at) : null;
      return this.element(el, at, { tag, style, role, shown, ghost, widget, box });
    }

    isFarOff(el, at) {
      const rect = shifted(el.getBoundingClientRect(), at.origin);
      // What has no extent of its own (display: contents, floats within) may show beneath.
      if (rect.right - rect.left < 1 || rect.bottom - rect.top < 1) return false;
      if (rect.top < at.clip.bottom && rect.bottom > at.clip.top
        && rect.left < at.clip.right && rect.right > at.clip.left) return false;
      this.omitted += 1 + el.childElementCount;
      return true;
    }

    element(el, at, seen) {
      const { style, role, widget } = seen;
      const pointer = style.cursor === 'pointer';
      const clickable = (pointer && !at.pointer) || el.hasAttribute('onclick')
        || (role === 'generic' && el.hasAttribute('tabindex') && el.tabIndex >= 0);
      const own = this.colourOf(style, at);
      const index = this.kept.length;
      const item = { node: el };
      const below = {
        ...at, parent: item, pointer, ghost: seen.ghost, backdrop: own || at.backdrop,
        clip: this.clipOf(el, style, at),
        quiet: at.quiet || (T.NAMED_BY_CONTENT.has(role) && widget) || role === 'textbox',
      };
      const leaf = this.leafText(el);
      const plain = leaf !== null && !(leaf === '' && (el.shadowRoot || seen.tag === 'iframe'));
      const count = plain || seen.tag === 'textarea' ? 0 : this.children(el, below, style);
      const fields = this.describe(el, seen, { clickable, own, leaf: plain ? leaf : null, count, at });
      if (!fields || !seen.box || (!seen.box.seen && this.offscreen >= this.limits.offscreen)) {
        if (fields && seen.box) this.omitted++;
        // Left out: what is beneath hangs on the next one above.
        item.gone = at.parent;
        return count;
      }
      this.keep(el, at, fields, seen.box);
      Object.assign(item, this.kept.pop());
      this.kept.splice(index, 0, item);
      this.absorb(item, index, seen.box);
      return 1;
    }

    // A container that holds one plain text is that text, with the container's role.
    absorb(item, index, box) {
      const only = this.kept[index + 1];
      if (this.kept.length !== index + 2 || only.role !== 'text' || item.text) return;
      if (only.visible !== item.visible || T.NAMED_BY_CONTENT.has(item.role)) return;
      this.kept.pop();
      if (!only.visible) this.offscreen--;
      item.text = only.text;
      if (item.name === only.text) item.name = only.name;
      item.states = Array.from(new Set(item.states.concat(only.states)));
      if (item.role === 'generic') item.role = 'text';
    }

    colourOf(style, at) {
      const colour = T.colour(style.backgroundColor);
      return colour && colour !== at.backdrop ? colour : '';
    }

    clipOf(el, style, at) {
      if (style.overflowX === 'visible' && style.overflowY === 'visible') {
        // What is placed against the screen is not cut off by the scrollers around it.
        return style.position === 'fixed' ? at.screen : at.clip;
      }
      if (el === document.body || el === document.documentElement) return at.clip;
      return intersect(shifted(el.getBoundingClientRect(), at.origin), at.clip);
    }

    // All the text where an element holds nothing but text; null otherwise.
    leafText(el) {
      let text = '';
      for (const child of el.childNodes) {
        if (child.nodeType === 3) text += child.data;
        else if (child.nodeType === 1) {
          if (T.tag(child) !== 'br') return null;
          text += ' ';
        }
      }
      return T.clean(text);
    }

    children(el, at, style) {
      let count = 0;
      if (style.contentVisibility === 'hidden') return 0;
      if (T.tag(el) === 'details' && !el.open) return this.summary(el, at);
      const root = el.shadowRoot || el;
      for (const child of T.tag(el) === 'slot' ? slotted(el) : root.childNodes) {
        if (this.exhausted()) { this.omitted++; break; }
        if (child.nodeType === 3) count += this.text(child, at, style);
        else if (child.nodeType === 1) count += this.walk(child, at);
      }
      if (T.tag(el) === 'iframe') count += this.frame(el, at);
      return count;
    }

    summary(el, at) {
      const first = Array.from(el.children).find((child) => T.tag(child) === 'summary');
      return first ? this.walk(first, at) : 0;
    }

    frame(el, at) {
      const doc = T.innerDocument(el);
      if (!doc || !doc.body) return 0;
      const rect = el.getBoundingClientRect();
      const origin = {
        x: at.origin.x + rect.left + el.clientLeft, y: at.origin.y + rect.top + el.clientTop,
      };
      return this.walk(doc.body, { ...at, origin, backdrop: 'white' });
    }

    // Role, name and so on of an element that is worth listing; null for one that is not.
    describe(el, seen, { clickable, own, leaf, count, at }) {
      const { style, role, widget } = seen;
      const states = [];
      let name = widget || role === 'img' || el.hasAttribute('aria-label') || el.hasAttribute('title')
        || role === 'group' ? T.name(el, role) : '';
      let listed = role;
      let text = at.quiet && !widget ? '' : leaf || '';
      const look = T.look(el, style);
      const border = T.border(style);
      const scrolls = T.scrolls(el, style);
      if (!text && leaf === '' && !widget) text = this.generated(el);
      if (role === 'generic' || role === 'label') {
        if (text) listed = 'text';
        else if (role === 'label') listed = count > 1 ? 'generic' : '';
      }
      if (role === 'graphics-symbol') name = name || T.shapeName(el, style);
      else if (!text && !count && !widget && !KEEP_EMPTY.has(role)) {
        if (seen.ghost || !(own || look || border || (clickable && seen.box))) return null;
        listed = role === 'generic' ? 'graphics-symbol' : role;
        if (!this.paintable(seen.box)) return null;
        name = name || (seen.box.seen ? T.boxName(style, el.getBoundingClientRect(), border) : '');
      } else if (!text && count < 2 && role === 'generic' && !clickable && !scrolls
        && !((own || border) && this.paintable(seen.box))) return null;
      if (!listed || (at.quiet && listed === 'text') || seen.tag === 'body') return null;
      if (clickable && !widget) {
        states.push('clickable');
        if (count > 0) name = name || this.shortName(el);
      }
      const secret = (role === 'textbox' || role === 'searchbox' || role === 'spinbutton')
        && T.secret(el);
      if (secret) states.push('secret');
      statesOf(el, role, states);
      const form = /^(input|button|select|textarea)$/.test(seen.tag);
      if (text || own) {
        styleStates(style, form || listed === 'graphics-symbol' ? '' : own, states,
          Boolean(el.ownerSVGElement));
      }
      if (scrolls) states.push('scrollable');
      if (look) states.push(`look:${look}`);
      return { role: listed, name, value: valueOf(el, role, secret), states, text: secret || seen.tag === 'textarea' ? '' : text };
    }

    // What a person would call a clickable container; a long text names nothing.
    shortName(el) {
      const text = T.textOf(el, 130);
      return text.length < 130 ? text : '';
    }

    paintable(box) {
      if (!box) return false;
      if (!box.seen) return true;
      const width = box.seen.right - box.seen.left, height = box.seen.bottom - box.seen.top;
      return width >= 3 && height >= 3 && width * height < 0.8 * this.area;
    }

    generated(el) {
      const parts = [];
      for (const pseudo of ['::before', '::after']) {
        const content = getComputedStyle(el, pseudo).content;
        if (content.startsWith('"')) parts.push(content.slice(1, -1));
      }
      return T.clean(parts.join(' '));
    }

    select(el, at, style) {
      if (style.visibility !== 'visible') return 0;
      const box = this.box(el, at);
      if (!box) return 0;
      const role = T.role(el);
      const states = [];
      statesOf(el, role, states);
      const item = this.keep(
        el, at, { role, name: T.name(el, role), value: valueOf(el, role, false), states, text: '' }, box,
      );
      const open = role === 'listbox';
      const clip = open ? intersect(shifted(el.getBoundingClientRect(), at.origin), at.clip) : at.clip;
      let listed = 0;
      for (const option of el.options) {
        if (listed++ >= this.limits.options) { this.omitted += el.options.length - listed + 1; break; }
        const marks = [];
        statesOf(option, 'option', marks);
        const fields = {
          role: 'option', name: T.clean(option.label), value: '', states: marks, text: '',
          unseen: !open,
        };
        this.offscreen--;
        this.keep(option, { ...at, parent: item }, fields,
          open ? this.box(option, { ...at, clip }) : null);
        if (this.kept[this.kept.length - 1].visible) this.offscreen++;
      }
      return 1;
    }
  }

  const slotted = (slot) => {
    const nodes = slot.assignedNodes();
    return nodes.length ? nodes : slot.childNodes;
  };

  const covered = (item) => {
    const width = item.box.right - item.box.left, height = item.box.bottom - item.box.top;
    return !T.TRIES.some(([fx, fy]) => T.receives(
      item.node, T.hit(item.box.left + fx * width, item.box.top + fy * height)));
  };

  const rounded = (value) => Math.round(value * 100) / 100;
  T.rounded = rounded;

  const parentId = (item, chosen) => {
    let up = item.parent;
    while (up && !chosen.has(up)) up = up.gone !== undefined ? up.gone : up.parent;
    return up ? T.idOf(up.node) : '';
  };

  T.snapshot = (options) => {
    const screen = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
    const excluded = new Set(options.exclude
      .flatMap((selector) => Array.from(document.querySelectorAll(selector))));
    const walk = new Walk(options, excluded);
    walk.area = innerWidth * innerHeight;
    const root = document.body || document.documentElement;
    T.focusedNow = T.activeElement();
    if (root) {
      walk.walk(root, {
        parent: null, origin: { x: 0, y: 0 }, clip: screen, screen, quiet: false, ghost: false,
        pointer: false, backdrop: 'white',
      });
    }
    const visible = walk.kept.filter((item) => item.visible);
    const rest = walk.kept.filter((item) => !item.visible);
    const chosen = visible.concat(rest).slice(0, options.elements);
    const set = new Set(chosen);
    for (const item of chosen) {
      if (item.visible && item.role !== 'text' && covered(item)) item.states.push('covered');
    }
    const focused = T.focusedNow;
    return {
      elements: chosen.map((item) => [
        T.idOf(item.node), item.role, item.name, item.value, item.states,
        item.box ? [item.box.left, item.box.top, item.box.right - item.box.left,
          item.box.bottom - item.box.top].map(rounded) : null,
        item.text, parentId(item, set),
      ]),
      omitted: walk.omitted + walk.kept.length - chosen.length,
      focused: focused ? T.idOf(focused) : '',
      title: document.title, url: location.href,
      scrollY: scrollY, scrollHeight: document.documentElement ? document.documentElement.scrollHeight : 0,
    };
  };

  // The text of an element as a person reads it; a coloured box in it is read as its colour.
  T.read = (selector) => {
    const root = document.querySelector(selector);
    if (!root) return '';
    const parts = [];
    const visit = (at) => {
      if (at.nodeType === 3) { parts.push(at.data); return; }
      if (at.nodeType !== 1) return;
      const style = getComputedStyle(at);
      if (style.display === 'none' || style.visibility === 'hidden' || SKIP.has(T.tag(at))) return;
      const block = !style.display.startsWith('inline') && style.display !== 'contents';
      const sized = at.getBoundingClientRect();
      if (!at.childNodes.length && sized.width >= 3 && sized.height >= 3) {
        parts.push(` ${T.colour(style.backgroundColor)} `);
      }
      if (block || T.tag(at) === 'br') parts.push(' ');
      for (const child of at.childNodes) visit(child);
      if (block) parts.push(' ');
    };
    visit(root);
    return T.clean(parts.join(''), 2000);
  };
})();

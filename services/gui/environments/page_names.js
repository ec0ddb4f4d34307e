// Roles, names, colours and looks: what a person or a screen reader would call what is shown.
// Runs in an isolated world: the page cannot see or change it.
(() => {
  const T = globalThis.tectum;

  const TAG_ROLES = {
    button: 'button', textarea: 'textbox', option: 'option', optgroup: 'group', h1: 'heading',
    h2: 'heading', h3: 'heading', h4: 'heading', h5: 'heading', h6: 'heading', img: 'img',
    ul: 'list', ol: 'list', menu: 'list', li: 'listitem', table: 'table', tr: 'row', td: 'cell',
    th: 'columnheader', nav: 'navigation', main: 'main', form: 'form', p: 'paragraph',
    dialog: 'dialog', progress: 'progressbar', meter: 'meter', summary: 'button',
    details: 'group', fieldset: 'group', canvas: 'canvas', iframe: 'iframe', hr: 'separator',
    video: 'video', audio: 'audio', article: 'article', aside: 'complementary', dt: 'term',
    dd: 'definition', label: 'label', legend: 'legend', pre: 'code', code: 'code',
  };
  const INPUT_ROLES = {
    button: 'button', submit: 'button', reset: 'button', image: 'button', checkbox: 'checkbox',
    radio: 'radio', range: 'slider', number: 'spinbutton', search: 'searchbox', date: 'date',
    time: 'time', month: 'month', week: 'week', 'datetime-local': 'datetime', color: 'color',
    file: 'file',
  };
  const SHAPES = {
    circle: 'circle', ellipse: 'ellipse', line: 'line', polyline: 'line', path: 'path',
  };
  T.SHAPE_TAGS = new Set(['circle', 'ellipse', 'line', 'polyline', 'path', 'rect', 'polygon']);
  T.WIDGETS = new Set([
    'button', 'link', 'checkbox', 'radio', 'slider', 'spinbutton', 'searchbox', 'textbox',
    'combobox', 'listbox', 'option', 'tab', 'menuitem', 'menuitemcheckbox', 'menuitemradio',
    'switch', 'treeitem', 'date', 'time', 'month', 'week', 'datetime', 'color', 'file', 'canvas',
  ]);
  // Widgets whose name is their content: their texts are not listed again beneath them.
  T.NAMED_BY_CONTENT = new Set([
    'button', 'link', 'option', 'tab', 'menuitem', 'menuitemcheckbox', 'menuitemradio', 'switch',
  ]);

  T.tag = (el) => el.localName;

  T.role = (el) => {
    const explicit = (el.getAttribute('role') || '').trim().split(/\s+/)[0].toLowerCase();
    if (explicit && explicit !== 'none' && explicit !== 'presentation') return explicit;
    const tag = T.tag(el);
    if (tag === 'input') return INPUT_ROLES[el.type] || 'textbox';
    if (tag === 'a' || tag === 'area') return el.hasAttribute('href') ? 'link' : 'generic';
    if (tag === 'select') return el.multiple || el.size > 1 ? 'listbox' : 'combobox';
    if (T.SHAPE_TAGS.has(tag) && el.ownerSVGElement) return 'graphics-symbol';
    if (tag === 'image' && el.ownerSVGElement) return 'img';
    if (el.isContentEditable && !(el.parentElement && el.parentElement.isContentEditable)) {
      return 'textbox';
    }
    return TAG_ROLES[tag] || 'generic';
  };

  T.clean = (text, most = 500) => text.replace(/\s+/g, ' ').trim().slice(0, most);

  // The text that a person sees inside `node`; what is hidden is left out.
  T.textOf = (node, most = 500) => {
    const parts = [];
    let budget = 400;
    const visit = (at) => {
      if (budget-- <= 0) return;
      if (at.nodeType === 3) { parts.push(at.data); return; }
      if (at.nodeType !== 1) return;
      const tag = T.tag(at);
      if (tag === 'script' || tag === 'style' || tag === 'select' || tag === 'textarea') return;
      if (tag === 'br') { parts.push(' '); return; }
      if (tag === 'img') { parts.push(' ' + (at.alt || '') + ' '); return; }
      const style = getComputedStyle(at);
      if (style.display === 'none' || style.visibility === 'hidden') return;
      const block = !style.display.startsWith('inline') && style.display !== 'contents';
      if (block) parts.push(' ');
      for (const child of at.childNodes) visit(child);
      if (block) parts.push(' ');
    };
    visit(node);
    return T.clean(parts.join(''), most);
  };

  const labelled = (el) => {
    const ids = (el.getAttribute('aria-labelledby') || '').trim();
    if (!ids) return '';
    const root = el.getRootNode();
    return T.clean(ids.split(/\s+/).map((id) => {
      const at = root.getElementById ? root.getElementById(id) : null;
      return at ? T.textOf(at) : '';
    }).join(' '));
  };

  const labels = (el) => {
    if (!el.labels || !el.labels.length) return '';
    return T.clean(Array.from(el.labels, (label) => T.textOf(label)).join(' '));
  };

  T.name = (el, role) => {
    const spoken = labelled(el) || T.clean(el.getAttribute('aria-label') || '');
    if (spoken) return spoken;
    const tag = T.tag(el);
    if (tag === 'input' && role === 'button') {
      return T.clean(el.value || el.alt || (el.type === 'submit' ? 'Submit' : '') || el.title);
    }
    if (tag === 'img') return T.clean(el.alt || el.title || '');
    if (tag === 'option') return T.clean(el.label || el.text);
    if (tag === 'optgroup') return T.clean(el.label);
    const label = labels(el);
    if (label) return label;
    if (T.NAMED_BY_CONTENT.has(role) || role === 'treeitem') {
      const text = T.textOf(el, 200);
      if (text) return text;
    }
    return T.clean(el.getAttribute('title') || el.getAttribute('placeholder') || '');
  };

  // Colours whose name is exact, and among them those that any other colour is called after.
  const EXACT = {
    '0,0,0': 'black', '255,255,255': 'white', '128,128,128': 'grey', '255,0,0': 'red',
    '255,165,0': 'orange', '255,255,0': 'yellow', '0,128,0': 'green', '0,255,255': 'cyan',
    '0,0,255': 'blue', '128,0,128': 'purple', '255,0,255': 'magenta', '255,192,203': 'pink',
    '165,42,42': 'brown', '0,255,0': 'lime', '128,128,0': 'olive', '128,0,0': 'maroon',
    '0,0,128': 'navy', '0,128,128': 'teal', '192,192,192': 'silver', '255,215,0': 'gold',
    '238,130,238': 'violet', '75,0,130': 'indigo', '64,224,208': 'turquoise',
    '250,128,114': 'salmon', '255,127,80': 'coral', '210,180,140': 'tan', '245,245,220': 'beige',
  };

  const hueName = (r, g, b) => {
    const high = Math.max(r, g, b), low = Math.min(r, g, b), spread = high - low;
    const light = (high + low) / 510;
    if (spread < 26 || (light < 0.98 && light > 0.02 && spread / high < 0.12)) {
      return light > 0.92 ? 'white' : light < 0.12 ? 'black' : 'grey';
    }
    if (light < 0.06) return 'black';
    let hue = high === r ? ((g - b) / spread) % 6 : high === g ? (b - r) / spread + 2
      : (r - g) / spread + 4;
    hue = (hue * 60 + 360) % 360;
    if (hue < 14 || hue >= 345) return light > 0.78 ? 'pink' : 'red';
    if (hue < 42) return light < 0.35 ? 'brown' : 'orange';
    if (hue < 70) return 'yellow';
    if (hue < 165) return 'green';
    if (hue < 195) return 'cyan';
    if (hue < 258) return 'blue';
    if (hue < 290) return 'purple';
    return light > 0.7 ? 'pink' : 'magenta';
  };

  const colours = new Map();
  // The colour's name; empty for what is (almost) transparent.
  T.colour = (css) => {
    let name = colours.get(css);
    if (name !== undefined) return name;
    const numbers = (css.match(/[\d.]+/g) || []).map(Number);
    if (!css.startsWith('rgb') || numbers.length < 3) name = '';
    else if (numbers.length > 3 && numbers[3] < 0.1) name = '';
    else name = EXACT[numbers.slice(0, 3).join(',')] || hueName(...numbers);
    if (colours.size < 500) colours.set(css, name);
    return name;
  };

  const square = (box) => Math.abs(box.width - box.height) <= 0.12 * Math.max(box.width, box.height);

  T.shapeName = (el, style) => {
    const tag = T.tag(el);
    const box = el.getBoundingClientRect();
    let shape = SHAPES[tag];
    if (tag === 'rect') shape = square(box) ? 'square' : 'rectangle';
    if (tag === 'polygon') {
      const corners = (el.getAttribute('points') || '').trim().split(/[\s,]+/).length / 2;
      shape = corners === 3 ? 'triangle' : 'polygon';
    }
    const fill = style.fill === 'none' ? '' : T.colour(style.fill);
    return `${fill || T.colour(style.stroke)} ${shape}`.trim();
  };

  // The colour of a frame that is drawn around all of a box; empty for none.
  T.border = (style) => {
    for (const side of ['Top', 'Right', 'Bottom', 'Left']) {
      if (style[`border${side}Style`] === 'none' || parseFloat(style[`border${side}Width`]) < 1) {
        return '';
      }
    }
    return T.colour(style.borderTopColor);
  };

  T.scrolls = (el, style) => (/(auto|scroll)/.test(style.overflowY)
      && el.scrollHeight > el.clientHeight + 1 && el.clientHeight > 0)
    || (/(auto|scroll)/.test(style.overflowX) && el.scrollWidth > el.clientWidth + 1
      && el.clientWidth > 0);

  T.boxName = (style, box, border) => {
    const round = parseFloat(style.borderTopLeftRadius) || 0;
    const percent = style.borderTopLeftRadius.endsWith('%');
    const circle = percent ? round >= 45 : round >= 0.45 * Math.min(box.width, box.height);
    const shape = square(box) ? (circle ? 'circle' : 'square') : (circle ? 'ellipse' : 'rectangle');
    const fill = T.colour(style.backgroundColor);
    if (fill) return `${fill} ${shape}`;
    return border ? `empty ${shape}` : '';
  };

  T.hash = (text) => {
    let value = 2166136261;
    for (let i = 0; i < text.length; i++) {
      value = Math.imul(value ^ text.charCodeAt(i), 16777619);
    }
    return (value >>> 0).toString(36);
  };

  // Equal for what looks equal: a fingerprint of a picture, an icon or a sprite, empty for none.
  T.look = (el, style) => {
    const tag = T.tag(el);
    let seen = '';
    if (tag === 'img') seen = el.currentSrc || el.src;
    else if (tag === 'path') seen = el.getAttribute('d') || '';
    else if (style.content.startsWith('url(')) seen = style.content;
    else if (style.backgroundImage.includes('url(')) {
      seen = `${style.backgroundImage} ${style.backgroundPosition}`;
    }
    // Of a local file only its name counts, so that a picture looks the same on every machine.
    seen = seen.replace(/file:[^)"]*?([^/)"]+\/[^/)"]+)(?=["\s)]|$)/g, '$1');
    return seen ? T.hash(seen) : '';
  };
})();

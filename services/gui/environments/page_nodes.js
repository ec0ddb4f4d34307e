// The nodes of a page by ids of ours, what is secret among them, and what lies where.
(() => {
  const T = globalThis.tectum;
  const SECRET_HINTS = /\b(current-password|new-password|one-time-code|cc-number|cc-csc)\b/;

  const ids = new WeakMap();
  const nodes = new Map();
  const secrets = new WeakSet();
  let last = 0;
  T.prefix = T.prefix || 'e';

  T.idOf = (node) => {
    let id = ids.get(node);
    if (!id) {
      id = `${T.prefix}.${++last}`;
      ids.set(node, id);
      nodes.set(id, new WeakRef(node));
      // Dead nodes leave with the sweep, so that a page that redraws for hours stays small.
      if (last % 4096 === 0) for (const [k, ref] of nodes) if (!ref.deref()) nodes.delete(k);
    }
    return id;
  };
  T.nodeOf = (id) => {
    const ref = nodes.get(id);
    const node = ref && ref.deref();
    return node && node.isConnected ? node : null;
  };
  T.taint = (el) => { secrets.add(el); };
  T.secret = (el) => {
    if (secrets.has(el)) return true;
    const hidden = el.type === 'password' || SECRET_HINTS.test(el.autocomplete || '')
      || (el.nodeType === 1 && getComputedStyle(el).webkitTextSecurity !== 'none');
    // Once secret, always secret: a page's "show password" does not show it to us.
    if (hidden) secrets.add(el);
    return hidden;
  };
  T.parentOf = (node) => node.parentNode
    || (node.host ? node.host : null)
    || (node.nodeType === 9 && node.defaultView ? node.defaultView.frameElement : null);
  T.isInside = (node, ancestor) => {
    for (let at = node, n = 0; at && n < 500; at = at.host || T.parentOf(at), n++) {
      if (at === ancestor) return true;
    }
    return false;
  };
  T.activeElement = () => {
    let at = document.activeElement;
    for (let n = 0; at && n < 20; n++) {
      if (at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement;
      else if (T.tag(at) === 'iframe' && inner(at)) at = inner(at).activeElement;
      else break;
    }
    return at && at !== document.body && T.tag(at) !== 'body' ? at : null;
  };
  const inner = (frame) => {
    try { return frame.contentDocument; } catch { return null; }
  };
  T.innerDocument = inner;

  // What is at this place, through shadow roots and frames of the same origin; CSS pixels.
  T.hit = (x, y) => {
    let root = document, at = null, dx = 0, dy = 0;
    for (let n = 0; n < 20; n++) {
      const found = root.elementFromPoint(x - dx, y - dy);
      if (!found || found === at) break;
      at = found;
      if (at.shadowRoot) root = at.shadowRoot;
      else if (T.tag(at) === 'iframe' && inner(at)) {
        const rect = at.getBoundingClientRect();
        dx += rect.left + at.clientLeft; dy += rect.top + at.clientTop;
        root = inner(at);
      } else break;
    }
    return at;
  };

  const receives = (node, hit) => {
    if (!hit) return false;
    const target = node.nodeType === 3 ? node.parentNode : node;
    if (T.isInside(hit, target)) return true;
    if (target.labels) for (const label of target.labels) if (T.isInside(hit, label)) return true;
    return T.tag(target) === 'option' && T.isInside(hit, target.closest('select'));
  };
  T.receives = receives;

  // Fractions of a box in the order in which a person would try them.
  T.TRIES = [[0.5, 0.5], [0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75],
    [0.15, 0.2], [0.85, 0.2], [0.15, 0.8], [0.85, 0.8], [0.04, 0.5], [0.96, 0.5]];
})();

// Counts trusted input, apart from everything else the platform keeps in the page.
(() => {
  if (globalThis.tectumWitness) return;
  const counts = { pointerdown: 0, pointermove: 0, keydown: 0, wheel: 0, input: 0, change: 0 };
  globalThis.tectumWitness = {
    counts,
    total: () => counts.pointerdown + counts.keydown + counts.wheel,
  };
  for (const kind of Object.keys(counts)) {
    addEventListener(kind, (event) => { if (event.isTrusted) counts[kind]++; }, { capture: true, passive: true });
  }
})();

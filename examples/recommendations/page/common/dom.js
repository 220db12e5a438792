// Small helpers for both pages. Nothing here writes HTML as text, so no answer of a server can become markup.

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** Creates an element. Children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Creates an element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Sets a text only if it differs: screen readers announce each change, and a selection survives. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute only if it differs. */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/**
 * Keeps one child of `parent` for each entry, in their order. Children stay the same nodes, so that the focus stays where it is.
 * `make` creates a child, and `update` is called for all of them.
 */
export function sync(parent, entries, key, make, update = () => {}) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const nodes = entries.map((entry) => {
    const name = String(key(entry));
    const node = old.get(name) ?? make(entry);
    old.delete(name);
    node.dataset.key = name;
    update(node, entry);
    return node;
  });
  for (const gone of old.values()) gone.remove();
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

/** Runs `task` again and again, `pause()` milliseconds after it ended, while the page is visible. Returns a function for now. */
export function repeat(task, pause) {
  let timer;
  let running = false;
  const run = async () => {
    if (running) return;
    running = true;
    clearTimeout(timer);
    try {
      await task();
    } finally {
      running = false;
      const wait = pause();
      if (!document.hidden && wait !== null) timer = setTimeout(run, wait);
    }
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : run()));
  run();
  return run;
}

"use strict";
// Charts as SVG. Colours, dashes and sizes stand in page.css, so that they follow dark mode and print.

const SVG = "http://www.w3.org/2000/svg";

/** Appends an element; its text is never read as markup. */
function make(parent, name, attributes = {}, text = "") {
  const inSvg = name === "svg" || parent.namespaceURI === SVG;
  const node = inSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== "") node.textContent = text;
  parent.append(node);
  return node;
}

/** A number for people: whole ones as they are, for a seed has every digit; of others four digits, no trailing zeros. */
function show(value) {
  if (typeof value !== "number") return value === null || value === undefined ? "-" : String(value);
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}

/** Maps the values of an axis, `{low, high, log}` or `{choices}`, to pixels. */
function scale(axis, from, to) {
  if (axis.choices) {
    const step = (to - from) / axis.choices.length;
    return (value) => from + step * (axis.choices.indexOf(value) + 0.5);
  }
  const turn = axis.log ? Math.log10 : Number;
  const [low, high] = [turn(axis.low), turn(axis.high)];
  return (value) => from + ((turn(value) - low) / (high - low || 1)) * (to - from);
}

/** About `most` round values of an axis. */
function ticks(axis, most) {
  if (axis.choices) return axis.choices;
  const { low, high } = axis;
  if (axis.log && high / low > 3) {
    for (const digits of [[1, 2, 5], [1, 3], [1]]) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
        found.push(...digits.map((digit) => Number(`${digit}e${power}`)));
      const inside = found.filter((value) => value >= low && value <= high);
      if (inside.length <= most || digits.length === 1) return inside;
    }
  }
  const rough = (high - low || 1) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((digit) => digit * power).find((size) => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step)
    found.push(Number(value.toPrecision(12)));
  return axis.whole ? found.filter(Number.isInteger) : found;
}

const SHAPES = {
  circle: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  square: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  diamond: (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0z`,
  triangle: (r) => `M0,${-1.2 * r}L${1.2 * r},${r}H${-1.2 * r}z`,
  plunge: (r) => `M0,${1.2 * r}L${1.2 * r},${-r}H${-1.2 * r}z`,
  cross: (r) => `M${-r},${-r}L${r},${r}M${r},${-r}L${-r},${r}`,
  plus: (r) => `M${-0.4 * r},${-r}h${0.8 * r}v${0.6 * r}h${0.6 * r}v${0.8 * r}h${-0.6 * r}v${0.6 * r}h${-0.8 * r}v${-0.6 * r}h${-0.6 * r}v${-0.8 * r}h${0.6 * r}z`,
  hourglass: (r) => `M${-r},${-r}H${r}L${-r},${r}H${r}z`,
  bowtie: (r) => `M${-r},${-r}V${r}L${r},${-r}V${r}z`,
  star: (r) => {
    const corner = (k) => [(k % 2 ? 0.65 : 1.6) * r * Math.sin((k * Math.PI) / 5), (k % 2 ? -0.65 : -1.6) * r * Math.cos((k * Math.PI) / 5)];
    return `M${Array.from({ length: 10 }, (_, k) => corner(k).map((v) => v.toFixed(2)).join(",")).join("L")}z`;
  },
};

function mark(parent, shape, x, y, radius, kind) {
  return make(parent, "path", { d: SHAPES[shape](radius), transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`, class: kind });
}

/** A line through points in pixels; with `step` it keeps its level up to the next point. */
function line(parent, points, kind, step = "") {
  const path = points.map(([x, y], k) => {
    const [at, level] = [x.toFixed(1), y.toFixed(1)];
    if (!k) return `M${at},${level}`;
    return step === "post" ? `H${at}V${level}` : step === "pre" ? `V${level}H${at}` : `L${at},${level}`;
  });
  return make(parent, "path", { d: path.join(""), class: `line ${kind}` });
}

/** Many small marks as one element: thousands of elements would make a page slow. */
function crowd(parent, points, kind, cross = 0) {
  const dot = ([x, y]) =>
    cross
      ? `M${(x - cross).toFixed(1)},${(y - cross).toFixed(1)}l${2 * cross},${2 * cross}m0,${-2 * cross}l${-2 * cross},${2 * cross}`
      : `M${x.toFixed(1)},${y.toFixed(1)}h0`;
  return make(parent, "path", { d: points.map(dot).join(""), class: kind });
}

/** Axes, grid and labels; returns where values lie. */
function frame(canvas, axes, width, height) {
  const [left, right, top, bottom] = [56, 14, 10, 44];
  const x = scale(axes.x, left, width - right);
  const y = scale(axes.y, height - bottom, top);
  const grid = make(canvas, "g", { class: "grid" });
  const everyName = axes.x.choices && axes.x.choices.length * 34 > width ? Math.ceil((axes.x.choices.length * 34) / width) : 1;
  const named = ticks(axes.x, Math.max(3, Math.floor(width / 75))).filter((_, k) => k % everyName === 0);
  for (const value of named) {
    make(grid, "line", { x1: x(value), x2: x(value), y1: top, y2: height - bottom });
    make(grid, "text", { x: x(value), y: height - bottom + 16, "text-anchor": "middle" }, show(value));
  }
  for (const value of ticks(axes.y, Math.max(3, Math.floor(height / 55)))) {
    make(grid, "line", { x1: left, x2: width - right, y1: y(value), y2: y(value) });
    make(grid, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, show(value));
  }
  make(canvas, "text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle", class: "axis" }, axes.x.label);
  const middle = (top + height - bottom) / 2;
  make(canvas, "text", { x: 11, y: middle, "text-anchor": "middle", class: "axis", transform: `rotate(-90 11 ${middle})` }, axes.y.label);
  const inside = (px, py) => px >= left - 1 && px <= width - right + 1 && py >= top - 1 && py <= height - bottom + 1;
  return { canvas, x, y, inside, left, right: width - right, top, bottom: height - bottom, width, height };
}

/** What is drawn anew when the page is laid out for paper, with letters of the size that paper needs. */
const printed = new Set();
for (const [moment, isPaper] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(moment, () => {
    document.documentElement.classList.toggle("paper", isPaper);
    for (const one of printed) one.canvas.isConnected ? one.draw() : printed.delete(one);
  });

/**
 * A chart that is drawn again when its place gets another width.
 * `paint(frame)` draws and returns what can be pointed at: [{x, y, text, row}] in pixels.
 * `choose(point)` hears of clicks.
 */
function chart(place, { axes, label, height = 300, bare = false, choose = () => {} }, paint) {
  const canvas = make(place, "svg", { role: "img", "aria-label": label });
  const ring = document.createElementNS(SVG, "circle");
  const tip = make(place, "div", { class: "tip" });
  tip.hidden = true;
  const self = { axes, canvas, points: [], draw, point, near: nearest };
  let width = 0;

  function draw() {
    width = Math.round(place.clientWidth);
    if (!width) return;
    canvas.replaceChildren();
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    self.points = paint(bare ? { canvas, width, height } : frame(canvas, self.axes, width, height)) || [];
    point(null);
  }

  function nearest(px, py) {
    let [best, found] = [28 ** 2, null];
    for (const one of self.points) {
      const distance = (one.x - px) ** 2 + (one.y - py) ** 2 - (one.lead || 0);
      if (distance < best) [best, found] = [distance, one];
    }
    return found;
  }

  /** Shows what is at a point, or nothing. */
  function point(found) {
    tip.hidden = !found;
    ring.remove();
    if (!found) return;
    for (const [key, value] of Object.entries({ cx: found.x, cy: found.y, r: 8, class: "pointed" })) ring.setAttribute(key, value);
    canvas.append(ring);
    tip.textContent = found.text;
    const factor = place.clientWidth / width;
    const left = Math.min(Math.max(found.x * factor - tip.offsetWidth / 2, 0), place.clientWidth - tip.offsetWidth);
    const above = found.y * factor - tip.offsetHeight - 14;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 0 ? above : found.y * factor + 14}px`;
  }

  const under = (event) => {
    const box = canvas.getBoundingClientRect();
    const factor = width / box.width;
    return self.near((event.clientX - box.left) * factor, (event.clientY - box.top) * factor);
  };
  canvas.addEventListener("pointermove", (event) => point(under(event)));
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("click", (event) => {
    const found = under(event);
    point(found);
    if (found) choose(found);
  });
  printed.add(self);
  new ResizeObserver(() => Math.round(place.clientWidth) !== width && draw()).observe(place);
  return self;
}

/** What the marks of a chart mean: [[shape, kind, text]]; shape "line" stands for a line. */
function legend(place, entries) {
  const list = make(place, "ul", { class: "legend" });
  for (const [shape, kind, text] of entries) {
    const entry = make(list, "li");
    const symbol = make(entry, "svg", { viewBox: "0 0 26 14", width: 26, height: 14, "aria-hidden": "true" });
    if (kind.includes("line")) make(symbol, "path", { d: "M1,7H25", class: kind });
    if (shape) mark(symbol, shape, 13, 7, 4, kind.replace("line", ""));
    make(entry, "span", {}, text);
  }
}

// What is on the page: every chart, and the one network that all of them show.

const data = JSON.parse(document.getElementById("document").textContent);
const { trials, parameters, charts } = data;
const place = (id) => document.getElementById(id);
const members = new Set(charts.front);
const rowOf = new Map(trials.name.map((name, row) => [name, row]));
const MOST_CURVES = 60;
const isMany = trials.name.length > 600;
const shapes = [["triangle", "beside0 line"], ["square", "beside1 line"], ["plunge", "beside2 line"]];
const published = ["star", "plus", "hourglass", "bowtie"];
let chosen = data.recommended;
const drawings = [];

function describe(row) {
  const values = parameters.slice(0, 6).map((one) => `${one.label} ${show(one.values[row])}`);
  return [
    `network ${trials.name[row]}${trials.stopped[row] ? `; its trial was stopped after epoch ${trials.epochs[row]}` : ""}`,
    `${charts.y.label} ${show(trials.y[row])}`,
    `${charts.x.label} ${show(trials.x[row])}`,
    ...values,
  ].join("\n");
}

/** Makes a network the one that the panel and all charts show. */
function choose(row) {
  chosen = row;
  fillPanel();
  for (const drawing of drawings) drawing.draw();
}

function fillPanel() {
  if (chosen === null) return;
  const name = trials.name[chosen];
  const role = chosen === data.recommended ? ", recommended" : members.has(chosen) ? ", on the front" : "";
  place("trial-title").textContent = `Network ${name}${role}`;
  const list = place("trial");
  list.replaceChildren();
  const facts = [
    ...trials.metrics.map((metric) => [metric.label, metric.values[chosen]]),
    ...parameters.map((one) => [one.label, one.values[chosen]]),
    ["epochs of its trial", trials.epochs[chosen]],
    ["seed", trials.seed[chosen]],
  ];
  for (const [label, value] of facts) {
    make(list, "dt", {}, label);
    make(list, "dd", {}, show(value));
  }
  place("trial-command").replaceChildren();
  make(place("trial-command"), "code", {}, data.train.join(name));
}

function drawEffects() {
  const menu = place("parameter");
  if (!menu) return;
  for (const name of Object.keys(data.effects)) make(menu, "option", { value: name }, name.replaceAll("_", " "));
  if (!menu.options.length) return void make(place("effect"), "p", {}, "Too few trials have finished.");
  const redraw = () => {
    place("effect").replaceChildren();
    for (const one of data.effects[menu.value]) drawEffect(make(place("effect"), "div", { class: "chart" }), one);
  };
  menu.addEventListener("change", redraw);
  redraw();
  legend(place("effect-legend"), [["circle", "own line", "mean and 95 % interval"], ["triangle", "accent line dashed", "best of the bin"]]);
}

function drawEffect(box, one) {
  const values = [...one.ci_low, ...one.ci_high, ...one.best, ...one.mean].filter((value) => value !== null);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low) * 0.06 || 0.5;
  // An interval may reach beyond what a fraction can be; the axis does not.
  const [least, most] = one.label.endsWith("(%)") ? [0, 100] : [-Infinity, Infinity];
  const axes = { x: one.axis, y: { label: one.label, low: Math.max(low - margin, least - margin / 2), high: Math.min(high + margin, most + margin / 2) } };
  chart(box, { axes, label: `${one.label} by ${one.axis.label}: mean with interval and best of each bin`, height: 280 }, ({ canvas, x, y, top, bottom }) => {
    const known = one.middle.map((_, k) => k).filter((k) => one.mean[k] !== null);
    const points = [];
    line(canvas, known.map((k) => [x(one.middle[k]), y(one.best[k])]), "accent dashed");
    line(canvas, known.map((k) => [x(one.middle[k]), y(one.mean[k])]), "own");
    for (const k of known) {
      const [px, py, low, high] = [x(one.middle[k]), y(one.mean[k]), one.ci_low[k], one.ci_high[k]];
      if (low !== null) {
        const ends = [y(low), y(high)];
        const [foot, head] = [Math.min(ends[0], bottom), Math.max(ends[1], top)];
        const caps = [foot, head].filter((end) => ends.includes(end)).map((end) => `M${px - 4},${end}h8`);
        make(canvas, "path", { class: "whisker", d: `M${px},${foot}V${head}${caps.join("")}` });
      }
      mark(canvas, "triangle", px, y(one.best[k]), 4, "accent");
      mark(canvas, "circle", px, py, 4, "own");
      const span = one.from[k] === one.to[k] ? show(one.middle[k]) : `${show(one.from[k])} to ${show(one.to[k])}`;
      const range = low === null ? "" : ` [${show(low)}, ${show(high)}]`;
      points.push({ x: px, y: py, text: `${one.axis.label} ${span}\nmean ${show(one.mean[k])}${range}\nbest ${show(one.best[k])}\n${one.count[k]} trials` });
    }
    return points;
  });
}

function drawVolume() {
  const { networks, hours, volume } = data.hypervolume;
  if (!networks.length) return void make(place("volume"), "p", {}, "No epoch has ended.");
  const positive = volume.filter((value) => value > 0); // none of dense networks: they keep all weights
  const [low, top] = positive.length ? [Math.min(...positive), Math.max(...positive)] : [0, 1];
  const margin = positive.length ? (top - low) * 0.1 + 0.001 : 0;
  const axes = { x: { label: "networks trained", low: 0, high: networks.at(-1), whole: true }, y: { label: "hypervolume", low: Math.max(0, low - margin), high: top + margin } };
  chart(place("volume"), { axes, label: `hypervolume, ${show(volume.at(-1))} after ${networks.at(-1)} networks`, height: 240 }, ({ canvas, x, y }) => {
    const ends = networks.map((count, k) => [x(count), y(Math.max(volume[k], axes.y.low))]);
    line(canvas, ends, "own", "post");
    return ends.map(([px, py], k) => ({ x: px, y: py, text: `${networks[k]} networks${hours[k] === null ? "" : `, ${show(hours[k])} hours`}\nhypervolume ${show(volume[k])}` }));
  });
}

/** An objective as an axis that reaches as far as the front's window, however far some trials lie outside. */
function pole(axis, values) {
  const known = values.filter((value) => value !== null && (value > 0 || !axis.log));
  const low = Math.max(known.reduce((a, b) => Math.min(a, b), Infinity), axis.low);
  const high = Math.min(known.reduce((a, b) => Math.max(a, b), -Infinity), axis.high);
  return { ...axis, low, high, values, isCut: known.some((value) => value < low) };
}

function drawParallel() {
  const most = 500;
  const objectives = [pole(charts.x, trials.x), pole(charts.y, trials.y)];
  const poles = [...parameters, ...objectives];
  const step = Math.ceil(trials.name.length / most);
  const rows = trials.name.map((_, row) => row).filter((row) => row % step === 0 || members.has(row) || row === data.recommended);
  place("parallel").style.minWidth = `${poles.length * 88}px`;
  const drawing = chart(place("parallel"), { label: "parallel coordinates of parameters and objectives", height: 330, bare: true, choose: (found) => choose(found.row) }, ({ canvas, width, height }) => {
    const [top, bottom] = [62, height - 26];
    const across = (k) => 44 + (k * (width - 88)) / (poles.length - 1);
    const ys = poles.map((pole) => scale(pole, bottom, top));
    const heightOf = (k, row) => Math.min(Math.max(ys[k](poles[k].values[row]), top), bottom);
    const path = (row) => poles.map((_, k) => [across(k), heightOf(k, row)]).filter(([, py]) => Number.isFinite(py));
    const one = (found) => found.map(([px, py], k) => `${k ? "L" : "M"}${px.toFixed(1)},${py.toFixed(1)}`).join("");
    const paths = new Map(rows.map((row) => [row, path(row)]));
    const join = (chosenRows) => chosenRows.map((row) => one(paths.get(row))).join("");
    make(canvas, "path", { class: "line faint", d: join(rows.filter((row) => !members.has(row))) });
    make(canvas, "path", { class: "line member", d: join(rows.filter((row) => members.has(row))) });
    if (chosen !== null && chosen !== data.recommended) line(canvas, path(chosen), "chosen");
    if (data.recommended !== null) line(canvas, path(data.recommended), "recommended");
    poles.forEach((pole, k) => {
      make(canvas, "line", { x1: across(k), x2: across(k), y1: top, y2: bottom, class: "pole" });
      wrap(canvas, pole.label, across(k));
      const ends = pole.choices ? [pole.choices[0], pole.choices.at(-1)] : [pole.low, pole.high];
      make(canvas, "text", { x: across(k), y: bottom + 16, "text-anchor": "middle", class: "ends" }, `${pole.isCut ? "≤ " : ""}${pole.choices ? ends[0] : Number(ends[0].toPrecision(3))}`);
      make(canvas, "text", { x: across(k), y: top - 4, "text-anchor": "middle", class: "ends" }, pole.choices ? ends[1] : String(Number(ends[1].toPrecision(3))));
    });
    return rows.flatMap((row) => paths.get(row).map(([px, py]) => ({ x: px, y: py, row, text: describe(row), lead: members.has(row) ? 60 : 0 })));
  });
  drawings.push(drawing);
  const few = step > 1 ? ` (${rows.length} of the networks drawn above)` : "";
  legend(place("parallel-legend"), [["", "line member", "front"], ["", "line recommended", "recommended"], ["", "line chosen", "chosen"], ["", "line faint", `others${few}`]]);
}

/** A label in short lines, the last just above the pole. */
function wrap(canvas, label, x) {
  const lines = [];
  for (const word of label.split(" ")) {
    if (lines.length && `${lines.at(-1)} ${word}`.length <= 12) lines.push(`${lines.pop()} ${word}`);
    else lines.push(word);
  }
  lines.forEach((text, k) => make(canvas, "text", { x, y: 14 * (k + 1), "text-anchor": "middle", class: "ends" }, text));
}

function drawCurves() {
  const first = new Map(trials.trial.map((trial, row) => [trial, row]).reverse()); // networks of one trial share its curve
  const known = [...first].sort((a, b) => a[1] - b[1]).map(([trial, row]) => [row, data.curves[trial]]).filter(([, curve]) => curve);
  const onFront = new Set(charts.front.map((row) => trials.trial[row]));
  const front = known.filter(([row]) => onFront.has(trials.trial[row]));
  if (!known.length) return void make(place("curves"), "p", {}, "No epochs were recorded.");
  const last = Math.max(...known.map(([, curve]) => curve.epoch.at(-1)));
  const shown = front.filter((_, k) => k % Math.ceil(front.length / MOST_CURVES) === 0);
  for (const metric of data.curveMetrics) {
    const axes = { x: { label: "epoch", low: 0, high: last, whole: true }, y: limits(metric, front.length ? front : known) };
    const box = make(place("curves"), "div", { class: "chart" });
    drawings.push(chart(box, { axes, label: `${metric.label} by epoch, for trials of the front`, height: 300, choose: (found) => choose(found.row) }, ({ canvas, x, y, top, bottom }) => {
      const points = [];
      const paint = (row, style) => {
        const curve = data.curves[trials.trial[row]];
        if (!curve) return;
        const ends = curve.epoch.map((epoch, k) => [x(epoch), Math.min(Math.max(y(curve[metric.name][k]), top), bottom), k]).filter(([, py]) => Number.isFinite(py));
        line(canvas, ends, style);
        if (ends.length === 1) mark(canvas, "circle", ends[0][0], ends[0][1], 3, style);
        for (const [px, py, k] of ends) points.push({ x: px, y: py, row, text: `network ${trials.trial[row]}@${curve.epoch[k]}\n${metric.label} ${show(curve[metric.name][k])}` });
      };
      for (const [row] of shown) paint(row, "member");
      if (data.recommended !== null) paint(data.recommended, "recommended");
      if (chosen !== null && chosen !== data.recommended) paint(chosen, "chosen");
      return points;
    }));
  }
  const missing = front.length - shown.length;
  legend(place("curves-legend"), [["", "line member", `front${missing ? `; ${shown.length} of its ${front.length} trials, evenly spaced` : ""}`], ["", "line recommended", "recommended"], ["", "line chosen", "chosen"]]);
}

function limits(metric, curves) {
  const values = curves.flatMap(([, curve]) => curve[metric.name]).filter((value) => value !== null && (!metric.log || value > 0));
  const [low, high] = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [1, 100];
  const margin = (high - low) * 0.04 || 0.5;
  const ends = metric.log ? { low: low / 1.2, high: high * 1.2 } : { low: low - margin, high: high + margin };
  return { label: metric.label, log: metric.log, ...ends };
}

function drawLayers() {
  const box = place("layers");
  drawings.push({
    draw() {
      box.replaceChildren();
      const name = chosen === null ? null : trials.name[chosen];
      const found = data.layers[name];
      place("layers-text").textContent = name === null ? "No network is chosen." : found ? `What the mask of network ${name} leaves of each layer, from input to output.` : `This file has no layers of network ${name}.`;
      if (!found) return;
      const top = Math.max(...found.remaining, ...found.inverted, 0.1) * 1.08;
      const axes = { x: { label: "layer", choices: found.name }, y: { label: "weights of the layer (%)", low: 0, high: top } };
      chart(box, { axes, label: `remaining and inverted weights of each layer of network ${name}`, height: 260 }, ({ canvas, x, y }) =>
        [["remaining", "own", "circle"], ["inverted", "accent dashed", "square"]].flatMap(([part, style, shape]) => {
          const ends = found.name.map((name, k) => [x(name), y(found[part][k])]);
          line(canvas, ends, style);
          return ends.map(([px, py], k) => {
            if (ends.length <= 40) mark(canvas, shape, px, py, 4, style.replace(" dashed", ""));
            return { x: px, y: py, text: `${found.name[k]}\n${part} ${show(found[part][k])} %` };
          });
        }),
      );
    },
  });
  legend(place("layers-legend"), [["circle", "own line", "remaining (kept or inverted)"], ["square", "accent line dashed", "inverted"]]);
}

function copyOnClick() {
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code); // A page from a file may not write to the clipboard everywhere.
        button.textContent = "selected";
      }
    });
  }
}

drawFront();
drawEffects();
drawVolume();
drawParallel();
drawCurves();
drawLayers();
choose(chosen);
copyOnClick();
for (const button of document.querySelectorAll("button.choose"))
  button.addEventListener("click", () => {
    choose(rowOf.get(button.dataset.network) ?? chosen);
    place("front").scrollIntoView({ block: "nearest" });
  });

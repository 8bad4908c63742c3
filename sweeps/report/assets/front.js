// The front: networks as marks, what it is compared with, and a walk along it by keyboard.

function drawFront() {
  const axes = { x: charts.x, y: charts.y };
  const label = `${axes.y.label} against ${axes.x.label}. Left and right arrow keys step along the front, Enter chooses a network.`;
  const drawing = chart(place("front"), { axes, label, height: 440, choose: (found) => found.row !== undefined && choose(found.row) }, paintFront);
  drawings.push(drawing);
  stepThrough(drawing);
  place("all").addEventListener("change", (event) => {
    const [x, y] = event.target.checked ? charts.all : [charts.x, charts.y];
    drawing.axes = { x, y };
    drawing.draw();
  });
  const some = data.isSample ? " (a sample)" : "";
  const stopped = trials.stopped.filter((one, row) => one && !members.has(row)).length;
  const others = trials.stopped.length - stopped - charts.front.length;
  const joined = (kind) => (charts.step ? kind : kind.replace(" line", ""));
  const entries = [["circle", joined("own line"), `front, ${charts.front.length} networks`]];
  if (data.recommended !== null) entries.push(["circle", "recommended", "recommended"]);
  entries.push(["circle", "plain", `${others} others, each the best of its trial${some}`]);
  if (stopped) entries.push(["cross", "whisker", `${stopped} others, each the best of a stopped trial${some}`]);
  if (charts.confirmed.length) entries.push(["diamond", "confirmed", "confirmed with fresh seeds: mean test accuracy and remaining, 95 % intervals"]);
  charts.references.forEach((one, k) => entries.push([published[k], "reference", `${one.label}: ${show(one.y)} at ${show(one.x)}`]));
  charts.beside.forEach((one, k) => {
    const [shape, style] = shapes[k % shapes.length];
    entries.push([shape, joined(style), `front of ${one.name}`]);
  });
  legend(place("front-legend"), entries);
}

function paintFront(area) {
  const { canvas, x, y, inside } = area;
  const at = (px, py) => [x(px), y(py)];
  const seen = (points) => points.filter(([px, py]) => inside(px, py));
  const all = trials.name.map((_, row) => at(trials.x[row], trials.y[row]));
  const visible = all.map((point, row) => row).filter((row) => inside(...all[row]));
  const kind = (name) => `${name}${isMany ? " many" : ""}`;
  const others = visible.filter((row) => !members.has(row));
  crowd(canvas, others.filter((row) => trials.stopped[row]).map((row) => all[row]), kind("crosses"), isMany ? 2 : 3);
  crowd(canvas, others.filter((row) => !trials.stopped[row]).map((row) => all[row]), kind("dots"));
  const points = [];
  charts.beside.forEach((one, k) => {
    const [shape, style] = shapes[k % shapes.length];
    const ends = seen(one.x.map((value, place) => at(value, one.y[place])));
    if (charts.step) line(canvas, ends, style.replace(" line", ""), charts.step);
    for (const [px, py] of ends) {
      mark(canvas, shape, px, py, 3, style.replace(" line", ""));
      points.push({ x: px, y: py, text: `front of ${one.name}\n${charts.y.label} ${show(one.y[one.x.findIndex((v) => x(v) === px)])}` });
    }
  });
  const ends = seen(charts.front.map((row) => all[row]));
  if (charts.step) line(canvas, ends, "own", charts.step); // the front of three objectives, seen from one side, is no line
  for (const [px, py] of ends) mark(canvas, "circle", px, py, ends.length > 80 ? 2.5 : 4, "own");
  for (const [k, one] of charts.references.entries()) {
    const [px, py] = at(one.x, one.y);
    if (!inside(px, py)) continue;
    mark(canvas, published[k], px, py, 7, "reference");
    points.push({ x: px, y: py, text: `${one.label}\n${charts.y.label.replace("validation ", "")} ${show(one.y)}\n${charts.x.label} ${show(one.x)}` });
  }
  for (const one of charts.confirmed) paintConfirmed(area, one, points);
  const marked = [[data.recommended, "recommended", "recommended"], [chosen, "chosen", ""]];
  for (const [row, style, name] of marked) {
    if (row === null || !inside(...all[row])) continue;
    const [px, py] = all[row];
    mark(canvas, "circle", px, py, style === "chosen" ? 9 : 6, style);
    if (!name) continue;
    const right = px > area.width - 130;
    make(canvas, "text", { x: px + (right ? -12 : 12), y: py + 18, "text-anchor": right ? "end" : "start", class: "callout" }, `${name}: ${trials.name[row]}`);
  }
  const outside = all.length - visible.length;
  place("outside").textContent = outside ? `${outside} of the ${all.length} networks drawn ${outside === 1 ? "lies" : "lie"} outside this window.` : "";
  // A member of the front is what people mean when they point between it and a dot.
  return [...visible.map((row) => ({ x: all[row][0], y: all[row][1], row, text: describe(row), lead: members.has(row) ? 60 : 0 })), ...points];
}

function paintConfirmed({ canvas, x, y, inside, left, right, top, bottom }, one, points) {
  const [[mx, lx, hx], [my, ly, hy]] = [one.x, one.y];
  const [px, py] = [x(mx), y(my)];
  if (!inside(px, py)) return;
  const across = (value) => Math.min(Math.max(x(value) || left, left), right); // a logarithm of less than nothing is none
  const up = (value) => Math.min(Math.max(y(value), top), bottom);
  if (lx !== null) make(canvas, "path", { class: "whisker", d: `M${across(lx)},${py}H${across(hx)}M${px},${up(ly)}V${up(hy)}` });
  mark(canvas, "diamond", px, py, 4, "confirmed");
  const range = lx === null ? "" : `\n95 % intervals [${show(ly)}, ${show(hy)}], [${show(lx)}, ${show(hx)}]`;
  points.push({ x: px, y: py, row: rowOf.get(one.name), text: `network ${one.name}, ${one.seeds} fresh seeds\ntest accuracy ${show(my)}, remaining ${show(mx)} (%)${range}` });
}

/** Lets the arrow keys walk along the front. */
function stepThrough(drawing) {
  const { canvas } = drawing;
  canvas.setAttribute("tabindex", "0");
  canvas.setAttribute("role", "application");
  let step = -1;
  canvas.addEventListener("keydown", (event) => {
    const stops = drawing.points.filter((point) => members.has(point.row) && point.lead).sort((a, b) => a.x - b.x);
    if (!stops.length) return;
    const known = stops.findIndex((point) => point.row === chosen);
    const moves = { ArrowRight: (step < 0 ? known : step) + 1, ArrowLeft: (step < 0 ? known : step) - 1, Home: 0, End: stops.length - 1 };
    if (event.key in moves) {
      step = Math.min(Math.max(moves[event.key], 0), stops.length - 1);
      drawing.point(stops[step]);
      place("spoken").textContent = stops[step].text;
    } else if ((event.key === "Enter" || event.key === " ") && step >= 0) {
      choose(stops[step].row);
    } else if (event.key === "Escape") {
      drawing.point(null);
    } else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => ((step = -1), drawing.point(null)));
}

// SPDX-License-Identifier: Apache-2.0
// What the page computes, then what it draws.
"use strict";
const known = (column, i) => column.values ? column.values[i] : column.codes[i];
const text = (column, i) => {
  if (column.words) return column.words[column.codes[i]];
  const value = column.values[i];
  return value === null ? "–" : si(value, column.unit);
};
function si(value, unit) {
  if (value === 0 || !["s", "J"].includes(unit)) return String(Number(value.toPrecision(4))) + (unit ? " " + unit : "");
  const step = Math.max(-5, Math.min(4, Math.floor(Math.log10(Math.abs(value)) / 3)));
  const prefix = ["f", "p", "n", "µ", "m", "", "k", "M", "G", "T"][step + 5];
  return Number((value / 1000 ** step).toPrecision(4)) + " " + prefix + unit;
}
// Points that lie within all brushes ({column: [low, high]}) and hold every word of the query.
function selected(data, brushes, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const coded = data.columns.filter(column => column.words);
  const hits = words.map(word => coded.map(column => column.words.map(each => each.toLowerCase().includes(word))));
  const found = [];
  for (let i = 0; i < data.size; i++) {
    const within = Object.entries(brushes).every(([at, [low, high]]) => {
      const value = known(data.columns[at], i);
      return value !== null && value >= low && value <= high;
    });
    if (within && hits.every(hit => coded.some((column, c) => hit[c][column.codes[i]]))) found.push(i);
  }
  return found;
}
// Places of points by a column, whose words come in their order; unknown values stay last in both directions.
function ordered(column, places, down) {
  const key = i => known(column, i);
  return places.slice().sort((a, b) => {
    const x = key(a), y = key(b);
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return (down ? y - x : x - y) || a - b;
  });
}
// Of the points in places, those that none beats in both columns, from left to right; less is better.
function front(x, y, places) {
  const known = places.filter(i => x.values[i] !== null && y.values[i] !== null);
  known.sort((a, b) => x.values[a] - x.values[b] || y.values[a] - y.values[b]);
  let best = Infinity;
  return known.filter(i => y.values[i] < best && ((best = y.values[i]), true));
}
// Scale of a column onto 0..1: logarithmic where all numbers are positive and span a decade.
function scaled(column) {
  if (column.words) {
    const last = Math.max(1, column.words.length - 1);
    return {at: value => value / last, log: false};
  }
  const values = column.values.filter(value => value !== null);
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  const log = low > 0 && high / low > 10, of = log ? Math.log : value => value, span = of(high) - of(low) || 1;
  return {at: value => (of(value) - of(low)) / span, low, high, log};
}
// A point as the YAML that gives it again.
const yaml = (data, i) => data.inputs.map(input => [input.label, input.words[input.codes[i]]])
  .filter(([, value]) => value !== "").map(([key, value]) => key + ": " + value).join("\n");

function explore(document, window, data) {
  const byId = id => document.getElementById(id), columns = data.columns;
  const scales = columns.map(scaled), ROW = 26, PRINTED = 100;
  const state = {brushes: {}, query: "", sort: columns.findIndex(column => column.cost), down: false, hover: -1};
  const numeric = columns.map((column, i) => [column, i]).filter(([column]) => column.values).map(([, i]) => i);
  const shownAxes = columns.map((column, i) => i).filter(i => columns[i].values ? scales[i].high > scales[i].low : columns[i].words.length > 1);
  let places = [], rows = [], pending = false;
  const colour = name => window.getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axes = {x: byId("x"), y: byId("y"), colour: byId("colour")};
  const option = (select, i) => { const each = document.createElement("option"); each.value = i; each.textContent = columns[i].label; select.append(each); };
  numeric.forEach(i => { option(axes.x, i); option(axes.y, i); });
  columns.forEach((column, i) => { if (column.words) option(axes.colour, i); });
  const costs = numeric.filter(i => columns[i].cost);
  axes.x.value = costs[0] ?? 0; axes.y.value = costs[1] ?? costs[0] ?? 0;
  axes.colour.value = columns.findIndex(column => column.label === "Sparsity");
  const palette = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c6bb1", "#777777"];

  function canvas(id) {
    const node = byId(id), ratio = window.devicePixelRatio || 1, box = node.getBoundingClientRect();
    node.width = Math.round(box.width * ratio); node.height = Math.round(box.height * ratio);
    const pen = node.getContext("2d");
    pen.scale(ratio, ratio); pen.clearRect(0, 0, box.width, box.height);
    pen.font = "12px system-ui, sans-serif"; pen.fillStyle = colour("--ink");
    return [pen, box.width, box.height];
  }
  const fitted = (pen, words, width) => { let kept = words; while (kept.length > 1 && pen.measureText(kept).width > width) kept = kept.slice(0, -2) + "…"; return kept; };
  const tint = i => palette[columns[axes.colour.value]?.codes[i] % palette.length] ?? palette[0];

  function drawPlot() {
    const [pen, width, height] = canvas("plot"), x = +axes.x.value, y = +axes.y.value, pad = 46;
    const left = value => pad + scales[x].at(value) * (width - pad - 12), up = value => height - pad - scales[y].at(value) * (height - pad - 12);
    pen.strokeStyle = colour("--line"); pen.strokeRect(pad, 12, width - pad - 12, height - pad - 12);
    pen.fillText(columns[x].label + (scales[x].log ? " (log): " : ": ") + si(scales[x].low, columns[x].unit) + " to " + si(scales[x].high, columns[x].unit), pad, height - 16);
    pen.save(); pen.translate(14, height - pad); pen.rotate(-Math.PI / 2);
    pen.fillText(columns[y].label + (scales[y].log ? " (log): " : ": ") + si(scales[y].low, columns[y].unit) + " to " + si(scales[y].high, columns[y].unit), 0, 0); pen.restore();
    for (const i of places) {
      if (columns[x].values[i] === null || columns[y].values[i] === null) continue;
      pen.fillStyle = tint(i); pen.fillRect(left(columns[x].values[i]) - 2, up(columns[y].values[i]) - 2, 4, 4);
    }
    pen.strokeStyle = colour("--ink"); pen.beginPath();
    front(columns[x], columns[y], places).forEach((i, at) => pen[at ? "lineTo" : "moveTo"](left(columns[x].values[i]), up(columns[y].values[i])));
    pen.stroke();
    if (state.hover >= 0 && columns[x].values[state.hover] !== null && columns[y].values[state.hover] !== null) {
      pen.beginPath(); pen.arc(left(columns[x].values[state.hover]), up(columns[y].values[state.hover]), 7, 0, 7); pen.stroke();
    }
    state.plot = {x, y, left, up};
  }
  function drawParallel() {
    const [pen, width, height] = canvas("parallel"), top = 34, bottom = height - 24;
    const at = n => 24 + n * (width - 48) / Math.max(1, shownAxes.length - 1);
    const up = (i, point) => { const value = known(columns[i], point); return value === null ? null : bottom - scales[i].at(value) * (bottom - top); };
    const line = point => { let open = false; shownAxes.forEach((i, n) => { const y = up(i, point); if (y === null) { open = false; return; } pen[open ? "lineTo" : "moveTo"](at(n), y); open = true; }); };
    pen.globalAlpha = Math.max(.04, Math.min(.7, 60 / places.length)); pen.lineWidth = 1;
    const groups = new Map();
    for (const i of places) { const key = tint(i); if (!groups.has(key)) groups.set(key, []); groups.get(key).push(i); }
    for (const [key, own] of groups) { pen.strokeStyle = key; pen.beginPath(); own.forEach(line); pen.stroke(); }
    pen.globalAlpha = 1; pen.strokeStyle = colour("--ink");
    if (state.hover >= 0) { pen.lineWidth = 2.5; pen.beginPath(); line(state.hover); pen.stroke(); pen.lineWidth = 1; }
    shownAxes.forEach((i, n) => {
      pen.beginPath(); pen.moveTo(at(n), top); pen.lineTo(at(n), bottom); pen.stroke();
      pen.textAlign = n === 0 ? "left" : n === shownAxes.length - 1 ? "right" : "center";
      const slot = (width - 48) / Math.max(1, shownAxes.length - 1), last = n === shownAxes.length - 1;
      pen.fillText(fitted(pen, columns[i].label, 1.9 * slot), at(n), n % 2 ? 28 : 14);
      if (columns[i].values) { pen.fillText(si(scales[i].low, columns[i].unit), at(n), bottom + 14); pen.fillText(si(scales[i].high, columns[i].unit), at(n), top + 12); }
      else if (columns[i].words.length * 14 < bottom - top) {
        pen.textAlign = last ? "right" : "left";
        columns[i].words.forEach((word, code) => { const y = bottom - scales[i].at(code) * (bottom - top); pen.fillText(fitted(pen, word, .8 * slot), at(n) + (last ? -5 : 5), Math.min(Math.max(y + 4, top + 12), bottom - 3)); });
      }
      if (state.brushes[i]) { const [low, high] = state.brushes[i].span; pen.globalAlpha = .25; pen.fillRect(at(n) - 7, bottom - high * (bottom - top), 14, (high - low) * (bottom - top)); pen.globalAlpha = 1; }
    });
    state.parallel = {at, top, bottom};
  }
  function drawRows() {
    const box = byId("rows"), first = state.paper ? 0 : Math.max(0, Math.floor(box.scrollTop / ROW) - 5);
    const count = state.paper ? PRINTED : Math.ceil(box.clientHeight / ROW) + 10;
    const body = byId("body"); body.textContent = "";
    const gap = size => { const row = document.createElement("tr"), cell = document.createElement("td"); cell.colSpan = columns.length; cell.style.height = size + "px"; cell.style.padding = 0; row.append(cell); body.append(row); };
    if (!state.paper) gap(first * ROW);
    for (const i of rows.slice(first, first + count)) {
      const row = document.createElement("tr"); row.dataset.point = i; row.tabIndex = 0;
      if (i === state.hover) row.className = "here";
      for (const column of columns) { const cell = document.createElement("td"); cell.textContent = text(column, i); if (column.values) cell.className = "number"; row.append(cell); }
      body.append(row);
    }
    if (!state.paper) gap(Math.max(0, rows.length - first - count) * ROW);
  }
  function update() {
    const brushes = Object.fromEntries(Object.entries(state.brushes).map(([i, brush]) => [i, brush.range]));
    places = selected({...data, size: data.size}, brushes, state.query);
    rows = ordered(columns[state.sort], places, state.down);
    byId("count").textContent = places.length + " of " + data.size + " points";
    draw();
  }
  function draw() { if (!pending) { pending = true; window.requestAnimationFrame(() => { pending = false; drawPlot(); drawParallel(); drawRows(); }); } }
  function hover(point) {
    if (point === state.hover) return;
    state.hover = point;
    byId("about").textContent = point < 0 ? "Point at a row or a dot to see its inputs and what bounds it." : yaml(data, point) + "\n\n" + data.notes.words[data.notes.codes[point]];
    draw();
  }
  function showSort() { [...byId("head").children].forEach((head, at) => head.setAttribute("aria-sort", at !== state.sort ? "none" : state.down ? "descending" : "ascending")); }
  function sortBy(i) { state.down = state.sort === i && !state.down; state.sort = i; showSort(); update(); }
  columns.forEach((column, i) => {
    const head = document.createElement("th"), button = document.createElement("button");
    button.type = "button"; button.textContent = column.label; button.addEventListener("click", () => sortBy(i)); head.append(button); byId("head").append(head);
  });
  const nearest = (x, y) => {
    const {x: a, y: b, left, up} = state.plot; let best = 15 ** 2, found = -1;
    for (const i of places) {
      if (columns[a].values[i] === null || columns[b].values[i] === null) continue;
      const away = (left(columns[a].values[i]) - x) ** 2 + (up(columns[b].values[i]) - y) ** 2;
      if (away < best) { best = away; found = i; }
    }
    return found;
  };
  byId("plot").addEventListener("pointermove", event => hover(nearest(event.offsetX, event.offsetY)));
  byId("body").addEventListener("pointerover", event => { const row = event.target.closest("tr[data-point]"); if (row) hover(+row.dataset.point); });
  byId("body").addEventListener("focusin", event => { const row = event.target.closest("tr[data-point]"); if (row) hover(+row.dataset.point); });
  let drag = null;
  byId("parallel").addEventListener("pointerdown", event => {
    const {at} = state.parallel; let n = 0;
    shownAxes.forEach((_, each) => { if (Math.abs(at(each) - event.offsetX) < Math.abs(at(n) - event.offsetX)) n = each; });
    drag = {axis: shownAxes[n], from: event.offsetY};
    event.target.setPointerCapture?.(event.pointerId);
  });
  byId("parallel").addEventListener("pointermove", event => { if (drag) brush(drag.axis, drag.from, event.offsetY); });
  byId("parallel").addEventListener("pointerup", event => {
    if (drag && Math.abs(event.offsetY - drag.from) < 4) { delete state.brushes[drag.axis]; update(); }
    drag = null;
  });
  function brush(i, from, to) {
    const {top, bottom} = state.parallel, share = y => Math.max(0, Math.min(1, (bottom - y) / (bottom - top)));
    const low = Math.min(share(from), share(to)), high = Math.max(share(from), share(to)), column = columns[i];
    const inside = value => { const at = scales[i].at(value); return at >= low - 1e-9 && at <= high + 1e-9; };
    const values = (column.values ?? column.words.map((_, code) => code)).filter(value => value !== null && inside(value));
    const range = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
    state.brushes[i] = {span: [low, high], range};
    update();
  }
  byId("query").addEventListener("input", event => { state.query = event.target.value; update(); });
  Object.values(axes).forEach(select => select.addEventListener("change", draw));
  byId("rows").addEventListener("scroll", draw);
  byId("clear").addEventListener("click", () => { state.brushes = {}; state.query = byId("query").value = ""; update(); });
  window.addEventListener("resize", draw);
  // Paper is white and has no scrolling: light colours, and the first rows in full, drawn before the printer looks.
  const print = paper => { state.paper = paper; document.documentElement.classList.toggle("paper", paper); drawPlot(); drawParallel(); drawRows(); };
  window.addEventListener("beforeprint", () => print(true)); window.addEventListener("afterprint", () => print(false));
  window.matchMedia?.("(prefers-color-scheme: dark)").addEventListener?.("change", draw);
  showSort(); update();
}
const data = JSON.parse(document.getElementById("data").textContent);
data.size = data.columns[0].codes.length;
explore(document, window, data);

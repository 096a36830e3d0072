// SPDX-License-Identifier: Apache-2.0
// Runs the explorer's script on a page's data with a document that has no more than the script uses.
const fs = require("fs"), code = require(process.argv[2]), html = fs.readFileSync(process.argv[3], "utf8");
const data = JSON.parse(/id="data">(.*?)<\/script>/s.exec(html)[1]);
data.size = data.columns[0].codes.length;
function element(id) {
  const listeners = {}, node = {id, children: [], dataset: {}, style: {}, value: "", textContent: "", scrollTop: 0, clientHeight: 420,
    append: (...more) => node.children.push(...more), setAttribute: (key, value) => { node[key] = value; },
    addEventListener: (kind, act) => { listeners[kind] = act; }, fire: (kind, event = {}) => listeners[kind]({target: node, ...event}),
    getBoundingClientRect: () => ({width: 800, height: 340}), getContext: () => pen};
  Object.defineProperty(node, "textContent", {get: () => node.own ?? "", set: value => { node.own = value; node.children = []; }});
  return node;
}
const drawn = {lines: 0, dots: 0};
const pen = new Proxy({}, {get: (_, name) => (...args) => { if (name === "lineTo") drawn.lines++; if (name === "fillRect") drawn.dots++; }, set: () => true});
const nodes = {}, frames = [];
const document = {documentElement: {}, getElementById: id => nodes[id] ??= element(id), createElement: element};
const window = {devicePixelRatio: 2, requestAnimationFrame: act => frames.push(act), addEventListener: () => {}, getComputedStyle: () => ({getPropertyValue: () => "#123456"})};
const frame = () => { while (frames.length) frames.shift()(); };
const page = code.explore(document, window, data);
frame();
const out = {size: data.size, shown: page.places().length, dots: drawn.dots, rows: nodes.body.children.length};
const latency = data.columns.findIndex(column => column.label === "Latency"), seconds = i => data.columns[latency].values[i];
out.sorted = page.rows().map(seconds); page.sortBy(latency); out.turned = page.rows().map(seconds);
nodes.parallel.fire("pointerdown", {offsetX: 24, offsetY: 240}); nodes.parallel.fire("pointermove", {offsetX: 24, offsetY: 330}); nodes.parallel.fire("pointerup", {offsetX: 24, offsetY: 330});
out.brushed = page.places().length;
nodes.clear.fire("click"); nodes.query.fire("input", {target: {value: process.argv[4]}}); frame();
out.filtered = page.places().length; out.count = nodes.count.textContent;
page.hover(page.places()[0]); frame(); out.about = nodes.about.textContent;
const column = label => data.columns.find(each => each.label === label), all = [...Array(data.size).keys()];
out.front = code.front(column("Latency"), column("Energy"), all);
nodes.clear.fire("click"); const start = process.cpuUsage(); for (let i = 0; i < 5; i++) { page.update(); frame(); }
out.milliseconds = process.cpuUsage(start).user / 5e3;
console.log(JSON.stringify(out));

"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const SVG = "http://www.w3.org/2000/svg";

// Ours in warm colours, the others in cool and muted ones; for paper, then for the dark.
const OURS = [["#c8430a", "#ff8a4c"], ["#e08a00", "#ffb84d"], ["#9c1f4a", "#ff7d9c"], ["#7a3b12", "#d9a071"], ["#d4598b", "#f0a5c5"], ["#5c4a00", "#d8c25a"]];
const PEERS = [["#1f5fa8", "#6fb1f5"], ["#7aa3d0", "#4a7fb8"], ["#6b7078", "#a3aab3"], ["#a39a86", "#7d776a"], ["#1f8a66", "#55c79d"], ["#7a4fb0", "#b794f0"], ["#0c8a9a", "#4fcad8"], ["#4d7a1f", "#a1cf6a"]];
let ours = 0, peers = 0;
data.codecs.forEach((codec) => {
  codec.pair = codec.model_bytes ? OURS[ours++ % OURS.length] : PEERS[peers++ % PEERS.length];
});
const printing = matchMedia("print");
const colour = (codec) => codec.pair[dark.matches && !printing.matches ? 1 : 0];

// Shared state: what is compared with what, by what.
const state = {
  anchor: data.anchor, metric: 0, curveMetric: 0, picture: -1, log: true,
  hidden: new Set(), threads: "one",
};

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const html = (text) => String(text).replace(/[&<>"]/g, (c) => escapes[c]);
const minus = (text) => text.replace("-", "\u2212");
const fixed = (value, digits) => (value == null ? "\u2013" : minus(value.toFixed(digits)));
const signed = (value, digits = 1) => (value == null ? "\u2013" : (value > 0 ? "+" : "") + fixed(value, digits));
const grouped = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u2009");
const DIGITS = [2, 2, 4, 1, 3];
// The scale that curves are drawn and integrated on; the same as in the program.
const quality = (metric, value) =>
  metric === 2 ? -10 * Math.log10(Math.max(1 - value, 1e-12)) : metric === 4 ? -10 * Math.log10(Math.max(value, 1e-12)) : value;
const comparison = (anchor, codec, metric) => data.comparisons.find((c) => c.anchor === anchor && c.codec === codec && c.metric === metric);
const name = (index) => `<th style="--c:${colour(data.codecs[index])}"><i></i>${html(data.codecs[index].name)}</th>`;
const row = (index, cells) => `<tr class="${data.codecs[index].model_bytes ? "ours" : ""}">${name(index)}${cells}</tr>`;

function options(id, texts, value, changed) {
  const select = $(id);
  select.innerHTML = texts.map(([key, text]) => `<option value="${key}">${html(text)}</option>`).join("");
  select.value = value;
  select.addEventListener("change", () => changed(select.value));
  return select;
}

/* The head of the page */

const first = data.codecs.findIndex((codec) => codec.model_bytes);

function head() {
  $("kicker").textContent = "rate-distortion report";
  const n = data.pictures.length;
  const set = `${n} picture${n === 1 ? "" : "s"}${data.set ? ` (${data.set})` : ""}`;
  $("lead").textContent = `${set}, ${data.codecs.length} codecs, measured on ${data.date}. Real files, whole round trips.`;
  const against = data.anchor == null || first < 0 ? null : comparison(data.anchor, first, 0);
  if (against && against.whole) {
    const percent = against.whole.mean;
    const anchor = html(data.codecs[data.anchor].about.split(",")[0]).replace(" ", "\u00a0");
    $("headline").innerHTML = `<em>${Math.abs(percent).toFixed(1)}\u2009% ${percent < 0 ? "fewer" : "more"} bits</em> than ${anchor} at the same PSNR`;
  }
  const tiles = [];
  const bd = (metric) => {
    const c = data.anchor != null && first >= 0 && comparison(data.anchor, first, metric);
    if (c && c.whole) tiles.push([`Bits at equal ${data.metrics[metric].name}`, `${signed(c.whole.mean)}\u2009%`]);
  };
  [1, 2, 3].forEach(bd);
  const times = (codec) => data.times.find((t) => t.codec === codec && t.one_thread);
  const [us, them] = [times(first), times(data.anchor)];
  if (us && them) {
    tiles.push(["Time to encode, one thread", `${(us.encode.cpu / them.encode.cpu).toFixed(2)}\u2009\u00d7`]);
    tiles.push(["Time to decode, one thread", `${(us.decode.cpu / them.decode.cpu).toFixed(2)}\u2009\u00d7`]);
  }
  $("tiles").innerHTML = tiles.map(([t, d]) => `<div><dt>${t}</dt><dd>${d}</dd></div>`).join("");
  $("tiles").hidden = tiles.length === 0;
  if (tiles.length && data.anchor != null) {
    $("lead").textContent += ` Figures are ${data.codecs[first].name} against ${data.codecs[data.anchor].name}.`;
  }
}

/* Curves */

function curve(codec) {
  const metric = state.curveMetric;
  if (state.picture < 0) {
    return data.averages[codec].filter((a) => a.values[metric] != null)
      .map((a) => ({ codec, x: a.bpp, y: quality(metric, a.values[metric]), value: a.values[metric], setting: a.setting }));
  }
  return data.points.filter((p) => p[0] === codec && p[1] === state.picture && p[4 + metric] != null)
    .map((p) => ({ codec, x: p[3], y: quality(metric, p[4 + metric]), value: p[4 + metric], setting: p[2] }))
    .sort((a, b) => a.x - b.x);
}

function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) out.push(Math.round(v * 1e6) / 1e6);
  return out;
}

function element(parent, tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text != null) node.textContent = text;
  parent.appendChild(node);
  return node;
}

function drawChart() {
  const holder = $("chart");
  const width = printing.matches ? 680 : Math.max(holder.clientWidth, 280);
  const height = Math.round(Math.min(560, Math.max(320, width * 0.56)));
  const margin = { left: 46, right: 16, top: 26, bottom: 44 };
  const lines = data.codecs.map((_, codec) => (state.hidden.has(codec) ? [] : curve(codec)));
  const all = lines.flat();
  holder.textContent = "";
  $("tip").hidden = true;
  if (!all.length) {
    holder.innerHTML = '<p class="empty">Nothing to draw: this metric is not defined for these pictures.</p>';
    return;
  }
  const xs = all.map((p) => p.x), ys = all.map((p) => p.y);
  let [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  const pad = (y1 - y0 || 1) * 0.05;
  y0 -= pad; y1 += pad;
  if (state.log) { x0 /= 1.12; x1 *= 1.12; } else { x0 = 0; x1 *= 1.04; }
  const fx = state.log ? Math.log : (v) => v;
  const px = (v) => margin.left + ((fx(v) - fx(x0)) / (fx(x1) - fx(x0))) * (width - margin.left - margin.right);
  const py = (v) => height - margin.bottom - ((v - y0) / (y1 - y0)) * (height - margin.top - margin.bottom);
  const svg = element(holder, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Rate-distortion curves" });
  const rates = state.log ? [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20].filter((v) => v >= x0 && v <= x1) : ticks(x0, x1, width / 90);
  for (const v of rates) {
    element(svg, "line", { x1: px(v), x2: px(v), y1: margin.top, y2: height - margin.bottom, class: "grid" });
    element(svg, "text", { x: px(v), y: height - margin.bottom + 17, "text-anchor": "middle" }, v);
  }
  for (const v of ticks(y0, y1, height / 60)) {
    element(svg, "line", { x1: margin.left, x2: width - margin.right, y1: py(v), y2: py(v), class: "grid" });
    element(svg, "text", { x: margin.left - 8, y: py(v) + 4, "text-anchor": "end" }, minus(String(v)));
  }
  const metric = data.metrics[state.curveMetric];
  element(svg, "text", { x: 4, y: 14, class: "axis" }, `${metric.name}, ${metric.unit}`);
  element(svg, "text", { x: width - margin.right, y: height - 8, class: "axis", "text-anchor": "end" }, "bits per pixel");
  const groups = lines.map((points, codec) => {
    const group = element(svg, "g", {});
    if (!points.length) return group;
    const c = colour(data.codecs[codec]), own = data.codecs[codec].model_bytes;
    const d = points.map((p, i) => `${i ? "L" : "M"}${px(p.x).toFixed(1)} ${py(p.y).toFixed(1)}`).join("");
    element(group, "path", { d, stroke: c, "stroke-width": own ? 2.6 : 1.7 });
    for (const p of points) element(group, "circle", { cx: px(p.x), cy: py(p.y), r: own ? 3.4 : 2.4, fill: c });
    return group;
  });
  groups.filter((_, codec) => data.codecs[codec].model_bytes).forEach((group) => svg.appendChild(group));
  const ring = element(svg, "circle", { r: 7, "stroke-width": 2, fill: "none", visibility: "hidden" });
  const leave = () => {
    ring.setAttribute("visibility", "hidden");
    groups.forEach((group) => group.classList.remove("dim"));
    $("tip").hidden = true;
  };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), scale = width / box.width;
    const [mx, my] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const away = (p) => Math.hypot(px(p.x) - mx, py(p.y) - my);
    const near = all.reduce((best, p) => (away(p) < away(best) ? p : best));
    if (away(near) > 60) { leave(); return; }
    const codec = data.codecs[near.codec];
    ring.setAttribute("cx", px(near.x)); ring.setAttribute("cy", py(near.y));
    ring.setAttribute("stroke", colour(codec)); ring.setAttribute("visibility", "visible");
    groups.forEach((group, index) => group.classList.toggle("dim", index !== near.codec));
    const tip = $("tip");
    tip.innerHTML = `<b>${html(codec.name)}</b> at ${near.setting}<br>${near.x.toFixed(3)} bpp, ${fixed(near.value, DIGITS[state.curveMetric])}${state.curveMetric < 2 ? " dB" : ""}`;
    tip.hidden = false;
    const left = px(near.x) / scale + 8, top = py(near.y) / scale;
    const flip = left + tip.offsetWidth + 24 > box.width;
    tip.style.left = `${flip ? left - tip.offsetWidth - 12 : left + 14}px`;
    tip.style.top = `${Math.max(4, top - tip.offsetHeight - 6)}px`;
  });
}

function legend() {
  const holder = $("legend");
  holder.textContent = "";
  data.codecs.forEach((codec, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = codec.model_bytes ? "ours" : "";
    button.title = codec.about;
    button.style.setProperty("--c", colour(codec));
    button.setAttribute("aria-pressed", String(!state.hidden.has(index)));
    button.innerHTML = `<i></i>${html(codec.name)}`;
    button.addEventListener("click", () => {
      state.hidden.has(index) ? state.hidden.delete(index) : state.hidden.add(index);
      legend();
      drawChart();
    });
    holder.appendChild(button);
  });
}

/* BD-rates */

const scaleOf = (values) => Math.max(10, ...values.filter((v) => v != null).map(Math.abs));

function bar(value, scale) {
  if (value == null) return "";
  const half = Math.min(50, (Math.abs(value) / scale) * 50);
  const side = value < 0 ? `right:50%;width:${half}%` : `left:50%;width:${half}%`;
  return `<span class="bar ${value < 0 ? "less" : ""}"><i style="${side}"></i></span>`;
}

function bdTable() {
  if (state.anchor == null) { $("bd").hidden = true; return; }
  const metric = state.metric, digits = 1;
  const rows = data.codecs.map((_, codec) => codec).filter((codec) => codec !== state.anchor)
    .map((codec) => comparison(state.anchor, codec, metric));
  rows.sort((a, b) => (a.whole ? a.whole.mean : Infinity) - (b.whole ? b.whole.mean : Infinity));
  const scale = scaleOf(rows.map((c) => c.whole && c.whole.mean));
  const mean = (figure) => signed(figure && figure.mean, digits);
  $("bd-table").innerHTML = `<thead><tr><th>against ${html(data.codecs[state.anchor].name)}, %</th><th>all rates</th><th>low</th><th>middle</th><th>high</th><th>best \u2026 worst picture</th><th>pictures</th><th>overlap, ${data.metrics[metric].unit}</th><th>averaged<br>curves</th></tr></thead><tbody>${
    rows.map((c) => {
      const w = c.whole;
      return row(c.codec, `<td class="main">${w ? signed(w.mean, digits) : "no overlap"}${bar(w && w.mean, scale)}</td>${
        c.bands.map((b) => `<td>${mean(b)}</td>`).join("")}<td>${w ? `${signed(w.best, 0)} \u2026 ${signed(w.worst, 0)}` : "\u2013"}</td><td>${w ? w.pictures : 0}</td><td>${w ? `${fixed(w.low, 1)} \u2026 ${fixed(w.high, 1)}` : "\u2013"}</td><td>${signed(c.averaged && c.averaged.percent, digits)}</td>`);
    }).join("")}</tbody>`;
}

function pictureTable() {
  if (state.anchor == null) { $("pictures").hidden = true; return; }
  $("pp-anchor").textContent = data.codecs[state.anchor].name;
  $("pp-metric").textContent = data.metrics[state.metric].name;
  const codecs = data.codecs.map((_, codec) => codec).filter((codec) => codec !== state.anchor);
  const figures = codecs.map((codec) => comparison(state.anchor, codec, state.metric).pictures);
  const cell = (value) => {
    if (value == null) return "<td>\u2013</td>";
    const strength = Math.min(1, Math.abs(value) / 50) * 0.42;
    return `<td style="background:rgba(var(--${value < 0 ? "good" : "bad"}),${strength.toFixed(3)})">${signed(value)}</td>`;
  };
  $("picture-table").innerHTML = `<thead><tr><th>picture</th>${codecs.map((c) => `<th>${html(data.codecs[c].name)}</th>`).join("")}</tr></thead><tbody>${
    data.pictures.map((picture, index) => `<tr><th>${html(picture.name)} <small>${picture.width}\u00d7${picture.height}</small></th>${figures.map((f) => cell(f[index])).join("")}</tr>`).join("")}</tbody>`;
}

/* Time and memory */

function speedTable() {
  if (!data.times.length) {
    $("speed-text").textContent = "This run has no timing pass: times taken while pictures are coded side by side would mean little.";
    $("speed-table").parentElement.hidden = true;
    $("speed-threads").closest(".controls").hidden = true;
    return;
  }
  const times = data.times.filter((t) => t.one_thread === (state.threads === "one"));
  const anchor = times.find((t) => t.codec === state.anchor);
  const one = times[0];
  $("speed-text").innerHTML = `Whole processes, files read and written, one after another in turns; each codec at its setting closest to ${data.timed_at}\u2009dB. Sums over ${one.megapixels.toFixed(1)} megapixels of the medians of ${one.rounds} rounds. Ratios are of processor time${anchor ? ` to <b>${html(data.codecs[state.anchor].name)}</b>` : ""}: below 1 is faster.`;
  const ratio = (t, way) => (anchor ? `${(t[way].cpu / anchor[way].cpu).toFixed(2)}\u2009\u00d7` : "\u2013");
  const speed = (t, way) => `${(t.megapixels / t[way].wall).toFixed(1)}`;
  const cores = (t, way) => (state.threads === "one" && t[way].cpu > 1.15 * t[way].wall ? "\u2020" : "");
  const note = times.some((t) => cores(t, "encode") || cores(t, "decode"));
  $("speed-table").innerHTML = `<thead><tr><th></th><th>setting</th><th>PSNR,<br>dB</th><th>encode<br>ratio</th><th>MP/s</th><th>CPU s<br>per MP</th><th>peak<br>MiB</th><th>decode<br>ratio</th><th>MP/s</th><th>CPU s<br>per MP</th><th>peak<br>MiB</th></tr></thead><tbody>${
    times.map((t) => row(t.codec, `<td>${t.setting}</td><td>${t.psnr_rgb.toFixed(1)}</td>${["encode", "decode"].map((way) => `<td class="main">${ratio(t, way)}</td><td>${speed(t, way)}${cores(t, way)}</td><td>${(t[way].cpu / t.megapixels).toFixed(3)}</td><td>${t[way].peak_mib.toFixed(0)}</td>`).join("")}`)).join("")}</tbody>`;
  if (note) $("speed-text").innerHTML += " \u2020\u2009used more than one thread all the same.";
}

/* The description length */

function descriptionTable(index) {
  const entry = data.descriptions[index];
  const best = entry.lengths.reduce((a, b) => (a.latents_bpp + a.error_bpp < b.latents_bpp + b.error_bpp ? a : b));
  const n = data.pictures.length;
  const pixels = data.pictures.reduce((sum, p) => sum + p.width * p.height, 0) / n;
  const model = (8 * entry.model_bytes) / pixels;
  const anchor = html(data.codecs[data.anchor].name);
  $("dl-table").innerHTML = `<thead><tr><th>setting</th><th>PSNR,<br>dB</th><th>latents,<br>bpp</th><th>error,<br>bpp</th><th>model over<br>${n} pictures</th><th>sum</th><th>${anchor}:<br>file</th><th>error</th><th>sum</th><th>saved per<br>picture, kB</th><th>pictures until the<br>model is paid for</th></tr></thead><tbody>${
    entry.lengths.map((l) => `<tr><th>${l.setting}</th><td>${l.psnr_rgb.toFixed(2)}</td><td>${l.latents_bpp.toFixed(3)}</td><td>${l.error_bpp.toFixed(3)}</td><td>${(model / n).toFixed(3)}</td><td class="main">${(l.latents_bpp + l.error_bpp + model / n).toFixed(3)}</td><td>${l.anchor_bpp.toFixed(3)}</td><td>${l.anchor_error_bpp.toFixed(3)}</td><td class="main">${(l.anchor_bpp + l.anchor_error_bpp).toFixed(3)}</td><td>${fixed(l.saved_bits / 8000, 2)}</td><td>${l.pictures_to_pay == null ? "never" : grouped(l.pictures_to_pay)}</td></tr>`).join("")}</tbody>`;
  $("dl-text").innerHTML = `The model of ${html(data.codecs[entry.codec].name)} is ${(entry.model_bytes / 1e6).toFixed(2)} MB. Its shortest description of these pictures, without the model, is <b>${(best.latents_bpp + best.error_bpp).toFixed(3)} bpp</b> at setting ${best.setting}.${best.pictures < n ? ` ${anchor} reaches that PSNR on ${best.pictures} of ${n} pictures.` : ""}`;
}

/* Side by side */

function viewer() {
  if (!data.views.length) { $("look").hidden = true; return; }
  const view = { index: 0, left: first < 0 ? 0 : first, right: data.anchor ?? data.codecs.length - 1 };
  const find = (current, codec) => current.entries.find((e) => e.codec === codec);
  const caption = (current, codec) => {
    const entry = find(current, codec);
    if (!entry) return "<b>original</b>";
    const s = entry.scores;
    const psnr = s.psnr_rgb == null ? "lossless" : `${s.psnr_rgb.toFixed(2)} dB`;
    return `<b>${html(data.codecs[codec].name)}</b>${grouped(entry.bytes)} bytes, ${entry.bpp.toFixed(3)} bpp<br>${psnr}${s.ssimulacra2 == null ? "" : `, SSIMULACRA2 ${fixed(s.ssimulacra2, 1)}`}`;
  };
  // A codec that failed on this picture gives way to the original.
  const source = (current, codec) => (find(current, codec) || { src: current.original }).src;
  const show = () => {
    const current = data.views[view.index];
    for (const [key, codec] of [["a", view.left], ["b", view.right]]) {
      $(`view-${key}`).src = source(current, codec);
      $(`view-${key}`).alt = `${data.pictures[current.picture].name}, ${find(current, codec) ? data.codecs[codec].name : "original"}`;
      $(`caption-${key}`).innerHTML = caption(current, codec);
    }
    const zoom = Number($("view-zoom").value);
    $("stage").style.width = zoom ? `${(current.width * zoom) / devicePixelRatio}px` : `min(100%, ${current.width}px)`;
    $("stage").classList.toggle("pixels", zoom > 0);
  };
  options("view-picture", data.views.map((v, i) => [i, `${data.pictures[v.picture].name}, ${v.bpp} bpp`]), 0, (v) => { view.index = Number(v); show(); });
  const codecs = [[-1, "original"], ...data.codecs.map((codec, index) => [index, codec.name])];
  options("view-left", codecs, view.left, (v) => { view.left = Number(v); show(); });
  options("view-right", codecs, view.right, (v) => { view.right = Number(v); show(); });
  $("view-zoom").addEventListener("change", show);
  const stage = $("stage"), handle = $("handle");
  let place = 50;
  const move = (percent) => {
    place = Math.min(100, Math.max(0, percent));
    stage.style.setProperty("--x", `${place}%`);
    handle.setAttribute("aria-valuenow", Math.round(place));
  };
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    move((100 * (event.clientX - box.left)) / box.width);
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); follow(event); });
  stage.addEventListener("pointermove", (event) => { if (event.buttons || event.pointerType === "touch") follow(event); });
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -2, ArrowRight: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
    if (step) { move(place + step); event.preventDefault(); }
  });
  move(50);
  show();
}

/* How it was measured */

function how() {
  const machine = [["Machine", data.machine], ["Date", data.date], ["Pictures", `${data.pictures.length}${data.set ? `, ${data.set}` : ""}`]];
  $("setup").innerHTML = machine.map(([t, d]) => `<dt>${t}</dt><dd>${html(d)}</dd>`).join("");
  $("codec-table").innerHTML = `<thead><tr><th>codec</th><th>what</th><th>version</th><th>commands</th></tr></thead><tbody>${
    data.codecs.map((codec, index) => row(index, `<td>${html(codec.about)}</td><td>${html(codec.version)}</td><td><code>${html(codec.encode)}</code><br><code>${html(codec.decode)}</code></td>`)).join("")}</tbody>`;
  $("missing").innerHTML = data.missing.length ? `Not measured: ${data.missing.map((m) => `<b>${html(m.name)}</b> (${html(m.reason)})`).join("; ")}.` : "";
  $("bands").textContent = data.bands.map(([low, high]) => `${low}\u2013${high}`).join(", ");
}

function tables() { bdTable(); pictureTable(); speedTable(); }
function redraw() { legend(); drawChart(); tables(); how(); }

const metrics = data.metrics.map((metric, index) => [index, metric.name]);
const codecs = data.codecs.map((codec, index) => [index, codec.name]);
options("curve-metric", metrics, 0, (v) => { state.curveMetric = Number(v); drawChart(); });
options("curve-picture", [[-1, "mean of all"], ...data.pictures.map((p, i) => [i, p.name])], -1, (v) => { state.picture = Number(v); drawChart(); });
options("anchor", codecs, data.anchor ?? 0, (v) => { state.anchor = Number(v); tables(); });
options("bd-metric", metrics, 0, (v) => { state.metric = Number(v); tables(); });
$("curve-log").addEventListener("change", (event) => { state.log = event.target.checked; drawChart(); });
$("speed-threads").addEventListener("change", (event) => { state.threads = event.target.value; speedTable(); });
if (data.descriptions.length) {
  options("dl-codec", data.descriptions.map((d, i) => [i, data.codecs[d.codec].name]), 0, (v) => descriptionTable(Number(v)));
  descriptionTable(0);
} else {
  $("description").hidden = true;
}
head();
redraw();
viewer();
dark.addEventListener("change", redraw);
printing.addEventListener("change", drawChart);
let waiting = 0;
addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(drawChart); });

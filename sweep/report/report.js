"use strict";
// The report's tables and charts, made of the JSON in #data. Text is only ever set as text: names
// of runs and sentences of errors are somebody else's. No framework, no build step.

const DATA = JSON.parse(document.getElementById("data").textContent);
const ASR = "repaired/attack_success_rate";
const CLEAN = "repaired/clean_accuracy";
const DETECTION = "goodnet/detection_rate";
const ALARM = "goodnet/false_alarm_rate";
// Okabe and Ito's colours, safe for the colour-blind: those that can be seen on white, on black.
const ON_LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const ON_DARK = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const BORDERS = { solid: "solid", dash: "dashed", dot: "dotted", dashdot: "dashed" };
const DETECTORS = { confidence_drop: "confidence drop: p(B's class) under B less that under B'", jensen_shannon: "Jensen-Shannon divergence" };
// Rates of the leaderboard that are always shown.
const FEW = [ASR, CLEAN, "cost", "repaired/valid_accuracy", DETECTION, ALARM, "prune/fraction"];
const ROWS = 50;
const CELLS = 30;
const MANY = 30; // strategies

const state = {
  chosen: new Set(), // numbers of groups whose curves are drawn
  sort: { column: ASR, down: false },
  filters: {}, // setting -> value
  text: "",
  all: false, // rows of the leaderboard
  wide: false, // all rates of the leaderboard
  cells: CELLS,
};

const $ = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

const percent = (value, digits = 2) => (100 * value).toFixed(digits);
const value = (item, metric) => item.rates[metric]?.[0];
const escaped = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

/** "97.17 [96.3, 97.8]" as an element, or a dash. */
function rate(found) {
  if (!found) return ["–"];
  const interval = found.length === 3
    ? element("small", {}, `[${percent(found[1], 1)}, ${percent(found[2], 1)}]`)
    : null;
  return [percent(found[0]), interval].filter(Boolean);
}

function nameOf(group) {
  return DATA.panels.length > 1 ? `${group.label} · ${DATA.panels[group.panel].name}` : group.label;
}

// ---- charts ------------------------------------------------------------------------------------

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axis(title, more = {}) {
  return {
    title: { text: title, standoff: 8 }, gridcolor: css("--grid"), linecolor: css("--line"),
    zerolinecolor: css("--grid"), tickcolor: css("--line"), automargin: true, ...more,
  };
}

function draw(id, traces, layout, label) {
  const target = typeof id === "string" ? $(id) : id;
  target.setAttribute("role", "img");
  target.setAttribute("aria-label", label);
  target.style.height = `${layout.height}px`; // on paper too
  return Plotly.react(target, traces, {
    font: { family: "system-ui, sans-serif", size: 12.5, color: css("--ink") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 52, r: 12, t: 30, b: 46 }, hovermode: "closest", showlegend: false,
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--muted"), activecolor: css("--accent") },
    ...layout,
  }, {
    displaylogo: false, responsive: true,
    modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  });
}

/** The colours for the page as it is now; what is printed is light. */
function colours() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches && !matchMedia("print").matches;
  return dark ? ON_DARK : ON_LIGHT;
}

/** Lengths of error bars to the ends of intervals, in points. */
function bars(groups, metric, colour) {
  return {
    type: "data", symmetric: false, thickness: 1, width: 0, color: colour,
    array: groups.map((g) => { const r = g.rates[metric]; return r.length === 3 ? 100 * (r[2] - r[0]) : 0; }),
    arrayminus: groups.map((g) => { const r = g.rates[metric]; return r.length === 3 ? 100 * (r[0] - r[1]) : 0; }),
  };
}

function points(groups, name, x, y, marker) {
  return {
    x: groups.map((g) => 100 * value(g, x)), y: groups.map((g) => 100 * value(g, y)),
    // of many strategies the bars would hide the points; the leaderboard has every interval
    ...(DATA.groups.length > MANY ? {} : { error_x: bars(groups, x, marker.color), error_y: bars(groups, y, marker.color) }),
    customdata: groups.map((g) => DATA.groups.indexOf(g)), name, mode: "markers", type: "scatter", marker,
    text: groups.map((g) => `<b>${escaped(g.label)}</b>`), showlegend: true,
  };
}

const LEGEND = { showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, margin: { l: 52, r: 12, t: 58, b: 46 } };

/** Defences, the control and oracles as points of two rates. */
function kinds(groups, x, y) {
  const known = groups.filter((g) => value(g, x) != null && value(g, y) != null);
  const [blue, orange] = colours();
  const sorts = [
    ["defence", (g) => !g.oracle && !g.control, { color: blue, size: 9 }],
    ["random (control)", (g) => g.control, { color: "#8a8f98", size: 9, symbol: "x" }],
    ["oracle †", (g) => g.oracle, { color: orange, size: 10, symbol: "diamond-open", line: { width: 2 } }],
  ];
  return sorts
    .map(([name, holds, marker]) => [known.filter(holds), name, marker])
    .filter(([same]) => same.length)
    .map(([same, name, marker]) => points(same, name, x, y, marker));
}

function drawScatter() {
  const target = $("scatter");
  const panels = DATA.panels.filter((panel) => panel.groups.some((at) => value(DATA.groups[at], ASR) != null));
  if (!panels.length) {
    target.replaceChildren(element("p", {}, "No cell has an attack success: there were no poisoned images, or none came so far."));
    return;
  }
  if (target.children.length !== panels.length) {
    target.replaceChildren(...panels.map((panel) => element("div", {},
      DATA.panels.length > 1 ? element("p", { class: "chart-title" }, panel.name) : null,
      element("div", { class: "chart" }))));
  }
  panels.forEach((panel, at) => {
    const groups = panel.groups.map((number) => DATA.groups[number]);
    const traces = kinds(groups, CLEAN, ASR);
    traces.forEach((trace) => {
      trace.hovertemplate = "%{text}<br>clean %{x:.2f} %<br>ASR %{y:.2f} %<extra></extra>";
    });
    const front = panel.front.map((number) => DATA.groups[number]);
    if (front.length > 1) {
      traces.unshift({
        x: front.map((g) => 100 * value(g, CLEAN)), y: front.map((g) => 100 * value(g, ASR)),
        name: "Pareto front", mode: "lines", line: { shape: "vh", color: colours()[0], width: 1.5, dash: "dot" }, hoverinfo: "skip", showlegend: true,
      });
    }
    if (panel.badnet[CLEAN] && panel.badnet[ASR]) {
      traces.push({
        x: [100 * panel.badnet[CLEAN][0]], y: [100 * panel.badnet[ASR][0]], name: "B", mode: "markers", type: "scatter",
        marker: { symbol: "star", size: 13, color: css("--ink") }, showlegend: true,
        hovertemplate: "<b>B, unpruned</b><br>clean %{x:.2f} %<br>ASR %{y:.2f} %<extra></extra>",
      });
    }
    const chart = target.children[at].querySelector(".chart");
    const highest = Math.max(...traces.flatMap((trace) => trace.y));
    const best = groups.filter((g) => !g.oracle && value(g, ASR) != null).sort((a, b) => value(a, ASR) - value(b, ASR))[0];
    draw(chart, traces, {
      height: panels.length > 2 ? 330 : 430, ...LEGEND,
      xaxis: axis("clean test accuracy of B', %"), yaxis: axis("attack success of B', %", { range: [-4, highest + 5] }),
    }, `Attack success over clean accuracy of ${groups.length} strategies on ${panel.name}.` +
      (best ? ` Least attack success of a defence: ${best.label}, ${percent(value(best, ASR))} % at clean accuracy ${percent(value(best, CLEAN))} %.` : "") +
      " The leaderboard has all numbers.");
    if (!chart.dataset.listens) {
      chart.dataset.listens = "yes";
      chart.on("plotly_click", (event) => {
        const number = event.points[0].customdata;
        if (number != null) choose(number, !state.chosen.has(number));
      });
    }
  });
}

/** Of each search its trials and their front, its history, and what its settings explain. */
function drawSearch() {
  $("search").hidden = !DATA.searches.length;
  if (!DATA.searches.length) return;
  const [blue, orange] = colours();
  const target = $("search-charts");
  if (!target.children.length) {
    target.append(...DATA.searches.flatMap(() => [0, 1, 2].map(() => element("div", { class: "chart" }))));
  }
  $("search-note").textContent = (DATA.searches.some((search) => search.oracle)
    ? "It looked at true attack success, which no defender knows: a bound, never a defence. "
    : "The proxy is what reversed triggers, and corruptions for one class above others, found anew on B', still do to clean validation images, the mean of both. ") +
    "The line is the front: no trial lost less accuracy with less success. What a setting explains is its share of the variance between the trials that have it.";
  DATA.searches.forEach((search, at) => {
    const [trials, history, settings] = [...target.children].slice(3 * at);
    const success = search.oracle ? "true attack success †, %" : "proxy of attack success, %";
    const by = new Map(search.trials.map((trial) => [trial.job, trial]));
    const dots = (some, name, marker) => ({
      x: some.map((t) => 100 * t.lost), y: some.map((t) => 100 * t.success), name, mode: "markers", type: "scatter", showlegend: true, marker,
      text: some.map((t) => `<b>trial ${t.job}</b> ${escaped(cellName(DATA.cells[t.cell]))}`),
      hovertemplate: "%{text}<br>%{x:.2f} points lost<br>%{y:.2f} %<extra></extra>",
    });
    const front = search.front.map((job) => by.get(job));
    const chosen = search.pick == null ? [] : [by.get(search.pick)];
    draw(trials, [
      { x: front.map((t) => 100 * t.lost), y: front.map((t) => 100 * t.success), name: "front", mode: "lines", line: { shape: "hv", color: orange, width: 1.5 }, hoverinfo: "skip", showlegend: true },
      dots(search.trials, "trial", { color: blue, size: 8 }),
      ...(chosen.length ? [dots(chosen, "pick", { color: orange, size: 15, symbol: "star" })] : []),
    ], {
      height: 330, ...LEGEND, xaxis: axis("points of clean validation accuracy lost"), yaxis: axis(success),
      shapes: [{ type: "line", x0: 100 * search.most_lost, x1: 100 * search.most_lost, yref: "paper", y0: 0, y1: 1, line: { dash: "dot", color: css("--muted"), width: 1 } }],
    }, `${search.trials.length} trials: ${success} over points of clean accuracy lost; ${front.length} are on the front.`);
    const numbers = search.history.map((least, job) => job).filter((job) => search.history[job] != null);
    draw(history, [
      { x: search.trials.map((t) => t.job), y: search.trials.map((t) => 100 * t.success), name: "each trial", mode: "markers", type: "scatter", marker: { color: "#8a8f98", size: 6 }, showlegend: true },
      { x: numbers, y: numbers.map((job) => 100 * search.history[job]), name: `least so far, at most ${+(100 * search.most_lost).toFixed(2)} points lost`, mode: "lines", line: { shape: "hv", color: blue }, showlegend: true },
    ], { height: 330, ...LEGEND, xaxis: axis("trial"), yaxis: axis(success) }, `What was found, trial by trial.`);
    const shares = Object.entries(search.importances).reverse();
    draw(settings, [
      { x: shares.map(([, share]) => 100 * share), y: shares.map(([name]) => name), type: "bar", orientation: "h", marker: { color: blue }, hovertemplate: "%{y}: %{x:.1f} %<extra></extra>" },
    ], { height: 330, xaxis: axis("share of the variance of trials, %", { range: [0, 100] }), yaxis: axis("") },
    `What settings explain: ${shares.map(([name, share]) => `${name} ${percent(share, 0)} %`).reverse().join(", ")}.`);
  });
}

/** The colour and dash of each chosen group, and a letter for its chip. */
function styles() {
  return new Map([...state.chosen].map((number, place) => [number, {
    color: colours()[place % ON_LIGHT.length],
    dash: DASHES[Math.floor(place / ON_LIGHT.length) % DASHES.length],
  }]));
}

function drawChips(id) {
  const items = [...styles()].map(([number, style]) => {
    const group = DATA.groups[number];
    const swatch = element("span", { class: "swatch" });
    swatch.style.borderTopColor = style.color;
    swatch.style.borderTopStyle = BORDERS[style.dash];
    return element("li", {}, swatch, nameOf(group), element("button", {
      type: "button", "aria-label": `Take ${nameOf(group)} off the curves`, onclick: () => choose(number, false),
    }, "×"));
  });
  $(id).replaceChildren(...items);
}

function curveTraces(cell, style, name, narrow) {
  const curve = DATA.curves[cell.curve];
  const share = $("curve-x").value === "share";
  const total = curve.channels.length || 1;
  const at = (count) => (share ? (100 * count) / total : count);
  const traces = [];
  [["clean_accuracy", CLEAN, ""], ["attack_success_rate", ASR, "2"]].forEach(([rateName, metric, number]) => {
    const rates = curve.rates[rateName];
    if (!rates) return;
    const axes = { xaxis: `x${number}`, yaxis: `y${number}` };
    traces.push({
      x: curve.pruned.map(at), y: rates.map((one) => (one == null ? null : 100 * one)), mode: "lines", type: "scatter",
      line: { ...style, width: 2 }, ...axes,
      hovertemplate: `<b>${escaped(name)}</b><br>%{x:.3~g} pruned: %{y:.2f} %<extra></extra>`,
    });
    const found = value(cell, metric);
    if (found != null && cell.stop != null) {
      traces.push({
        x: [at(cell.stop)], y: [100 * found], mode: "markers", type: "scatter",
        marker: { color: style.color, size: 9, line: { color: css("--card"), width: 1.5 } }, ...axes,
        hovertemplate: `<b>${escaped(name)}</b><br>B', ${cell.stop} pruned: %{y:.2f} %<extra></extra>`,
      });
    }
  });
  return traces;
}

function curveLayout(attacked, narrow, height) {
  const across = $("curve-x").value === "share" ? "channels pruned, %" : "channels pruned";
  const range = { range: [-2, 102] };
  const layout = {
    height: narrow && attacked ? height * 1.9 : height,
    xaxis: axis(across), yaxis: axis("clean accuracy, %", range),
  };
  if (attacked) {
    layout.xaxis2 = axis(across);
    layout.yaxis2 = axis("attack success, %", range);
    layout.grid = { rows: narrow ? 2 : 1, columns: narrow ? 1 : 2, pattern: "independent", xgap: 0.16, ygap: 0.3 };
  }
  return layout;
}

function drawCurves() {
  drawChips("chips");
  const traces = [];
  let attacked = false;
  for (const [number, style] of styles()) {
    for (const at of DATA.groups[number].cells) {
      const cell = DATA.cells[at];
      if (cell.curve == null) continue;
      attacked ||= "attack_success_rate" in DATA.curves[cell.curve].rates;
      traces.push(...curveTraces(cell, style, nameOf(DATA.groups[number])));
    }
  }
  const target = $("curve-chart");
  target.hidden = !traces.length;
  $("no-curve").hidden = Boolean(traces.length);
  if (!traces.length) {
    const any = DATA.cells.some((cell) => cell.curve != null);
    $("no-curve").textContent = any ? "Nothing is chosen: tick strategies in the leaderboard." : "No cell has logged a curve.";
    return;
  }
  const narrow = target.clientWidth < 560;
  draw(target, traces, curveLayout(attacked, narrow, 340),
    `Clean accuracy${attacked ? " and attack success" : ""} over channels pruned, of ${[...state.chosen].map((at) => nameOf(DATA.groups[at])).join("; ")}.`);
}

function choose(number, yes) {
  if (yes) state.chosen.add(number);
  else state.chosen.delete(number);
  document.querySelectorAll(`input[data-group="${number}"]`).forEach((box) => { box.checked = yes; });
  drawCurves();
  drawDetection();
}

// ---- leaderboard -------------------------------------------------------------------------------

/** What the columns of the leaderboard are: their id, name, and what they say of a group. */
function columns() {
  const several = DATA.panels.length > 1;
  const seeds = DATA.groups.some((group) => group.cells.length > 1);
  return [
    ...(several ? [{ id: "panel", name: "network", of: (g) => DATA.panels[g.panel].name }] : []),
    ...DATA.keys.map((key, at) => ({ id: key.id, name: key.name, title: key.id, of: (g) => g.settings[at] })),
    ...(seeds ? [{ id: "seeds", name: "seeds", number: true, of: (g) => g.cells.length }] : []),
    ...DATA.columns.filter((column) => state.wide || FEW.includes(column.id)).map((column) => ({ ...column, number: true, rate: true, title: column.meaning, of: (g) => value(g, column.id) })),
  ];
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return String(a).localeCompare(String(b));
}

function sorted(groups) {
  const column = columns().find((one) => one.id === state.sort.column) ?? columns()[0];
  const known = groups.filter((g) => column.of(g) != null);
  known.sort((a, b) => compare(column.of(a), column.of(b)) || (value(b, CLEAN) ?? 0) - (value(a, CLEAN) ?? 0));
  if (state.sort.down) known.reverse();
  return [...known, ...groups.filter((g) => column.of(g) == null)]; // what is not known comes last
}

function matching() {
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  return DATA.groups.filter((group) => {
    const all = `${nameOf(group)} ${group.settings.join(" ")}`.toLowerCase();
    if (!words.every((word) => all.includes(word))) return false;
    return Object.entries(state.filters).every(([id, wanted]) => {
      if (wanted === "") return true;
      if (id === "panel") return DATA.panels[group.panel].name === wanted;
      return group.settings[DATA.keys.findIndex((key) => key.id === id)] === wanted;
    });
  });
}

function makeFilters() {
  const bar = $("filters");
  bar.append(element("label", {}, "Find", element("input", {
    type: "search", id: "find", placeholder: "order, stop, layer …",
    oninput: (event) => { state.text = event.target.value; drawLeaderboard(); },
  })));
  const add = (id, name, values) => {
    if (values.length < 2) return;
    const choices = [...values].sort(compare).map((one) => element("option", { value: one }, one === "" ? "(none)" : one));
    bar.append(element("label", {}, name, element("select", {
      "data-filter": id, onchange: (event) => { state.filters[id] = event.target.value; drawLeaderboard(); },
    }, element("option", { value: "" }, "all"), ...choices)));
  };
  if (DATA.panels.length > 1) add("panel", "network", DATA.panels.map((panel) => panel.name));
  DATA.keys.forEach((key, at) => add(key.id, key.name, [...new Set(DATA.groups.map((g) => g.settings[at]))]));
  bar.append(
    element("button", { type: "button", onclick: resetFilters }, "Reset"),
    element("label", { class: "check" }, element("input", {
      type: "checkbox", id: "wide", onchange: (event) => { state.wide = event.target.checked; drawLeaderboard(); },
    }), "all rates"),
  );
}

function resetFilters() {
  state.filters = {};
  state.text = "";
  $("filters").querySelectorAll("select").forEach((one) => { one.value = ""; });
  $("find").value = "";
  drawLeaderboard();
}

function sortBy(column) {
  const same = state.sort.column === column.id;
  state.sort = { column: column.id, down: same ? !state.sort.down : column.better === 1 };
  drawLeaderboard();
}

function head(table) {
  const cells = columns().map((column) => element("th", {
    scope: "col", class: column.number ? "number" : "", title: column.title,
    "aria-sort": state.sort.column === column.id ? (state.sort.down ? "descending" : "ascending") : "none",
  }, element("button", { type: "button", "data-column": column.id, onclick: () => {
    sortBy(column);
    table.querySelector(`[data-column="${CSS.escape(column.id)}"]`).focus();
  } }, column.name)));
  return element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "curve"), ...cells, element("th", { scope: "col" }, "cells")));
}

function row(group, front) {
  const number = DATA.groups.indexOf(group);
  const box = element("input", {
    type: "checkbox", "data-group": number, "aria-label": `Draw the curve of ${nameOf(group)}`,
    onchange: (event) => choose(number, event.target.checked),
  });
  box.checked = state.chosen.has(number);
  box.disabled = !group.cells.some((at) => DATA.cells[at].curve != null);
  const first = DATA.panels.length > 1 ? 1 : 0;
  const cells = columns().map((column, at) => {
    if (column.rate) return element("td", { class: "number" }, ...rate(group.rates[column.id]));
    const text = String(column.of(group) ?? "");
    const width = column.number ? "number" : text.length > 30 ? "setting long" : "setting";
    if (at !== first) return element("td", { class: width }, text);
    return element("th", { scope: "row", class: width }, text,
      front.has(number) ? element("span", { class: "badge", title: "on the Pareto front" }, "front") : null,
      group.status ? element("span", { class: "badge bad" }, group.status) : null);
  });
  const open = element("button", { type: "button", "aria-label": `Cells of ${nameOf(group)}`, onclick: () => openCell(group.cells[0]) },
    group.cells.length > 1 ? `${group.cells.length} cells` : `cell ${DATA.cells[group.cells[0]].job}`);
  return element("tr", {}, element("td", {}, box), ...cells, element("td", {}, open));
}

function drawLeaderboard() {
  const found = sorted(matching());
  const front = new Set(DATA.panels.flatMap((panel) => panel.front));
  const parts = [["defences", found.filter((g) => !g.oracle)], ["oracles", found.filter((g) => g.oracle)]];
  let cut = 0;
  for (const [id, groups] of parts) {
    const rows = state.all ? groups : groups.slice(0, ROWS);
    cut += groups.length - rows.length;
    const table = $(id);
    table.replaceChildren(head(table), element("tbody", {}, ...rows.map((group) => row(group, front))));
  }
  $("oracles-part").hidden = !DATA.groups.some((group) => group.oracle);
  $("more-rows").hidden = !cut;
  $("more-rows").textContent = `Show all ${found.length}`;
  $("shown").textContent = `${found.length} of ${DATA.groups.length} strategies` +
    (cut ? `, ${found.length - cut} shown` : "") + ". Rates in %, cost in points of clean accuracy below B.";
}

// ---- heat map ----------------------------------------------------------------------------------

const STRATEGY = { id: " strategy", name: "strategy", of: (g) => g.label };
const NETWORK = { id: " network", name: "network", of: (g) => DATA.panels[g.panel].name };
const NOTHING = { id: " none", name: "nothing", of: () => "" };

function sides() {
  const swept = DATA.keys.map((key, at) => ({ ...key, of: (g) => g.settings[at] })).filter((key) => key.swept);
  return [...swept, ...(DATA.panels.length > 1 ? [NETWORK] : []), STRATEGY];
}

function makeHeat() {
  const all = sides();
  const option = (one) => element("option", { value: one.id }, one.name);
  $("heat-rows").append(...all.map(option));
  $("heat-columns").append(option(NOTHING), ...all.map(option));
  $("heat-rate").append(...DATA.columns.map(option));
  if (DATA.panels.length > 1) [$("heat-rows").value, $("heat-columns").value] = [STRATEGY.id, NETWORK.id];
  else if (all.length > 2) [$("heat-rows").value, $("heat-columns").value] = [all[0].id, all[1].id];
  for (const id of ["heat-rows", "heat-columns", "heat-rate"]) $(id).addEventListener("change", drawHeat);
  drawHeat();
}

function drawHeat() {
  const all = [NOTHING, ...sides()];
  const down = all.find((one) => one.id === $("heat-rows").value);
  const across = all.find((one) => one.id === $("heat-columns").value) ?? NOTHING;
  const column = DATA.columns.find((one) => one.id === $("heat-rate").value);
  const table = $("heat");
  if (!column) {
    table.replaceChildren();
    $("heat-note").textContent = "No cell has any rates.";
    return;
  }
  const marked = [down, across].some((side) => side === STRATEGY || side.id === "prune.order");
  const groups = DATA.groups.filter((g) => value(g, column.id) != null && (marked || !g.oracle));
  const values = (side) => [...new Set(groups.map(side.of))].sort(compare);
  const mean = (rowName, columnName) => {
    const same = groups.filter((g) => down.of(g) === rowName && across.of(g) === columnName).map((g) => value(g, column.id));
    return same.length ? same.reduce((a, b) => a + b) / same.length : null;
  };
  const [rows, heads] = [values(down), values(across)];
  const means = rows.map((one) => heads.map((other) => mean(one, other)));
  const known = means.flat().filter((one) => one != null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const cell = (one) => {
    if (one == null) return element("td", {}, "–");
    const depth = high > low ? Math.round((85 * (one - low)) / (high - low)) + 8 : 8;
    const made = element("td", {}, percent(one));
    made.style.background = `color-mix(in srgb, var(--heat) ${depth}%, var(--card))`;
    if (depth > (colours() === ON_DARK ? 55 : 85)) made.style.color = "var(--heat-ink)";
    return made;
  };
  table.replaceChildren(
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, down.name + (across === NOTHING ? "" : ` \\ ${across.name}`)),
      ...heads.map((one) => element("th", { scope: "col", class: "number" }, across === NOTHING ? column.name : one || "(none)")))),
    element("tbody", {}, ...rows.map((one, at) => element("tr", {}, element("th", { scope: "row" }, one || "(none)"), ...means[at].map(cell)))),
  );
  const averaged = groups.length > known.length ? " Mean over all that differ in other settings." : "";
  const bounds = known.length ? ` From ${percent(low)} (pale) to ${percent(high)} (deep).` : "";
  const oracles = !marked && DATA.groups.some((g) => g.oracle) ? " Oracles are left out." : "";
  $("heat-note").textContent = `${column.meaning}, in %.${bounds}${averaged}${oracles}`;
}

// ---- GoodNet -----------------------------------------------------------------------------------

function makeDetection() {
  const known = Object.keys(DETECTORS).filter((name) => DATA.cells.some((cell) => name in cell.detections));
  $("detector").append(...known.map((name) => element("option", { value: name }, DETECTORS[name])));
  $("threshold-controls").hidden = !known.length;
  if (!known.length) $("threshold-controls").style.display = "none";
  $("detection-note").textContent = known.length
    ? "Points: GoodNet as it is in each cell, by its score or by the vote of B and B'. Lines: a GoodNet with a score and any threshold, of the chosen strategies; ● is the threshold of the slider, which is set on clean validation images alone."
    : "Points: GoodNet as it is in each cell. There is no slider: these runs have logged no scores of single images (scores.npz).";
  $("detector").addEventListener("change", drawDetection);
  $("threshold").addEventListener("input", drawDetection);
  drawDetection();
}

function drawDetection() {
  const detector = $("detector").value;
  const step = Number($("threshold").value);
  $("alarm").textContent = `${percent(DATA.alarms[step], 1)} %`;
  $("threshold").setAttribute("aria-valuetext", `${percent(DATA.alarms[step], 1)} % false alarms`);
  const traces = kinds(DATA.groups, ALARM, DETECTION);
  traces.forEach((trace) => {
    trace.hovertemplate = "%{text}<br>flags %{y:.2f} % of poisoned<br>and %{x:.2f} % of clean images<extra></extra>";
    trace.marker = { ...trace.marker, opacity: 0.75 };
  });
  const lines = [];
  for (const [number, style] of styles()) {
    for (const at of DATA.groups[number].cells) {
      const scores = DATA.cells[at].detections[detector];
      if (!scores) continue;
      const [thresholds, alarms, detected] = scores;
      const name = nameOf(DATA.groups[number]);
      lines.push([name, DATA.cells[at].seed, thresholds[step], alarms[step], detected[step]]);
      if (!detected.length) continue;
      traces.push({
        x: alarms.map((one) => 100 * one), y: detected.map((one) => 100 * one), mode: "lines", type: "scatter", line: { ...style, width: 2 },
        text: thresholds.map((one) => `threshold ${one}`), showlegend: false,
        hovertemplate: `<b>${escaped(name)}</b><br>%{text}<br>flags %{y:.2f} % of poisoned<br>and %{x:.2f} % of clean images<extra></extra>`,
      }, {
        x: [100 * alarms[step]], y: [100 * detected[step]], mode: "markers", type: "scatter", showlegend: false,
        marker: { color: style.color, size: 11, line: { color: css("--card"), width: 1.5 } }, hoverinfo: "skip",
      });
    }
  }
  const target = $("detection-chart");
  if (traces.length) {
    draw(target, traces, {
      height: 360, ...LEGEND, xaxis: axis("clean test images flagged, %", { range: [-2, 102] }), yaxis: axis("poisoned images flagged, %", { range: [-2, 102] }),
    }, "Poisoned images that GoodNet flags over clean ones that it flags; the leaderboard has the numbers.");
  }
  target.hidden = !traces.length;
  $("no-detection").hidden = Boolean(traces.length);
  const heads = ["strategy", "seed", "threshold", "clean flagged, %", "poisoned flagged, %"];
  $("at-threshold").replaceChildren(...(lines.length ? [
    element("thead", {}, element("tr", {}, ...heads.map((one, at) => element("th", { scope: "col", class: at > 1 ? "number" : "" }, one)))),
    element("tbody", {}, ...lines.map(([name, seed, threshold, alarm, found]) => element("tr", {},
      element("th", { scope: "row", class: "setting" }, name), element("td", { class: "nowrap" }, seed), element("td", { class: "number" }, String(threshold)),
      element("td", { class: "number" }, percent(alarm)), element("td", { class: "number" }, found == null ? "–" : percent(found))))),
  ] : []));
}

// ---- cells -------------------------------------------------------------------------------------

function makeUnwell() {
  const unwell = new Map();
  DATA.cells.forEach((cell, at) => {
    if (cell.status === "FINISHED") return;
    const reason = `${cell.status} ${cell.error}`;
    if (!unwell.has(reason)) unwell.set(reason, []);
    unwell.get(reason).push(at);
  });
  if (!unwell.size) {
    $("unwell-list").append(element("p", {}, "None: every cell came to its end."));
    return;
  }
  const rows = [...unwell.values()].map((places) => {
    const cell = DATA.cells[places[0]];
    const names = [...new Set(places.map((at) => (places.length < 6 ? cellName(DATA.cells[at]) : nameOf(DATA.groups[DATA.cells[at].group]))))];
    return element("tr", {}, element("th", { scope: "row" }, cell.status), element("td", { class: "number" }, String(places.length)),
      element("td", {}, cell.error || "no reason was logged"),
      element("td", {}, names.slice(0, 12).join("; ") + (names.length > 12 ? ` and ${names.length - 12} more` : "")));
  });
  $("unwell-list").append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Cells without numbers" }, element("table", {},
    element("thead", {}, element("tr", {}, ...["status", "cells", "reason", "which"].map((one) => element("th", { scope: "col" }, one)))),
    element("tbody", {}, ...rows))));
}

function cellName(cell) {
  const name = nameOf(DATA.groups[cell.group]);
  return cell.seed && DATA.groups[cell.group].cells.length > 1 ? `${name}, ${cell.seed}` : name;
}

function summaryOf(cell) {
  if (cell.status !== "FINISHED") return cell.status;
  const known = [[ASR, "ASR"], [CLEAN, "clean"]].filter(([metric]) => value(cell, metric) != null);
  return known.map(([metric, name]) => `${name} ${percent(value(cell, metric))} %`).join(", ");
}

function drawCells() {
  const words = $("find-cell").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = DATA.cells.map((cell, at) => at).filter((at) => {
    const cell = DATA.cells[at];
    const all = `${cell.job} ${cellName(cell)} ${cell.run} ${cell.status} ${Object.values(cell.settings).join(" ")}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
  $("cell-list").replaceChildren(...found.slice(0, state.cells).map(cellSection));
  $("more-cells").hidden = found.length <= state.cells;
  $("more-cells").textContent = `Show more (${found.length - state.cells} left)`;
}

function cellSection(at) {
  const cell = DATA.cells[at];
  const details = element("details", { id: `cell-${at}` }, element("summary", {}, element("b", {}, `Cell ${cell.job}: `), cellName(cell), " ",
    element("span", { class: "muted" }, summaryOf(cell))));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(...cellContent(cell));
    if (details.open) drawCellCurve(details, cell);
  });
  return details;
}

function openCell(at) {
  $("find-cell").value = "";
  state.cells = Math.max(state.cells, at + 1);
  drawCells();
  const details = $(`cell-${at}`);
  details.open = true;
  details.scrollIntoView({ block: "start" });
  details.querySelector("summary").focus({ preventScroll: true });
}

function pairs(entries) {
  return element("table", { class: "plain" }, element("tbody", {}, ...entries.map(([name, text]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text)))));
}

function cellContent(cell) {
  const parts = [];
  if (cell.error) parts.push(element("p", { class: "warning" }, `${cell.status}: ${cell.error}`));
  const rates = DATA.columns.filter((column) => cell.rates[column.id]);
  const left = element("div");
  if (rates.length) {
    left.append(element("h3", {}, "Rates, in %"), element("table", {}, element("tbody", {}, ...rates.map((column) =>
      element("tr", {}, element("th", { scope: "row" }, column.name), element("td", { class: "number" }, ...rate(cell.rates[column.id])),
        element("td", {}, column.meaning))))));
  }
  const middle = element("div", {}, element("h3", {}, "Settings"), pairs(Object.entries(cell.settings)));
  if (cell.command) {
    const code = element("code", {}, cell.command);
    middle.append(element("h3", {}, "This cell again"), element("pre", {}, code), element("button", { type: "button", onclick: (event) => copy(code, event.target) }, "Copy"));
  }
  const about = [["run", cell.run || "none"], ...Object.entries(cell.digests).map(([name, text]) => [name.replaceAll("_", " "), text])];
  middle.append(element("h3", {}, "Origin"), pairs(about));
  parts.push(left, middle);
  if (cell.curve != null) {
    parts.push(element("div", {}, element("h3", {}, "Pruning curve"), element("div", { class: "cell-curve" }), channels(cell)));
  }
  for (const [name, number] of Object.entries(cell.pictures ?? {})) {
    const titles = { attack: "Clean images and their poisoned copies", activations: "Mean activation of each channel, in pruning order; framed: pruned", channels: "Mean activation of each channel", verdict: "Reversed triggers" };
    const title = titles[name] ?? `Mean activations${name.replace(/^\w+/, "")}`;
    parts.push(element("figure", {}, element("img", { src: DATA.pictures[number], alt: title, loading: "lazy" }), element("figcaption", {}, title)));
  }
  return [element("div", { class: "cell" }, ...parts)];
}

function channels(cell) {
  const curve = DATA.curves[cell.curve];
  const stop = cell.stop ?? 0;
  const named = curve.channels.slice(0, stop).map((channel, at) => (curve.at.length ? `${curve.layers[curve.at[at]]}:${channel}` : channel));
  const where = curve.at.length ? "" : ` at ${curve.layers[0]}`;
  const never = cell.reached ? "" : " The stop's criterion was never met.";
  return element("p", { class: "channels" }, `${stop} of ${curve.channels.length} channels pruned${where}, first pruned first: ${named.join(", ") || "none"}.${never}`);
}

function drawCellCurve(details, cell) {
  const target = details.querySelector(".cell-curve");
  if (!target) return;
  const attacked = "attack_success_rate" in DATA.curves[cell.curve].rates;
  draw(target, curveTraces(cell, { color: colours()[0], dash: "solid" }, cellName(cell)), curveLayout(attacked, target.clientWidth < 560, 260), `Pruning curve of ${cellName(cell)}`);
}

function copy(code, button) {
  const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
  const select = () => getSelection().selectAllChildren(code);
  if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, select);
  else select();
}

// ---- all of it ---------------------------------------------------------------------------------

function firstChoice() {
  const drawn = (at) => DATA.groups[at].cells.some((one) => DATA.cells[one].curve != null);
  const several = DATA.panels.length > 1;
  for (const panel of DATA.panels.slice(0, 4)) {
    panel.chosen.filter(drawn).slice(0, several ? 1 : 4).forEach((at) => state.chosen.add(at));
  }
  const any = DATA.groups.findIndex((group, at) => drawn(at));
  if (!state.chosen.size && any >= 0) state.chosen.add(any);
}

function drawCharts() {
  drawSearch();
  drawScatter();
  drawHeat();
  drawCurves();
  drawDetection();
  document.querySelectorAll("details[open]").forEach((details) => drawCellCurve(details, DATA.cells[Number(details.id.slice(5))]));
}

firstChoice();
makeFilters();
drawLeaderboard();
makeHeat();
makeDetection();
makeUnwell();
drawCells();
drawSearch();
drawScatter();
drawCurves();
$("curve-x").addEventListener("change", () => drawCharts());
$("clear").addEventListener("click", () => {
  state.chosen.clear();
  document.querySelectorAll("input[data-group]").forEach((box) => { box.checked = false; });
  drawCurves();
  drawDetection();
});
$("more-rows").addEventListener("click", () => { state.all = true; drawLeaderboard(); });
$("more-cells").addEventListener("click", () => { state.cells += 100; drawCells(); });
$("find-cell").addEventListener("input", () => { state.cells = CELLS; drawCells(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
matchMedia("print").addEventListener("change", drawCharts);

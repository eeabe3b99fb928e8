// Learning curves, drawn by plotly in the colours of the report: mean and band of the runs that have ended, thin lines
// for those that still train.
const CONTROL = "#1a1a1a";
const STRETCHED_TICKS = [0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99];
const DASHES = { "-": "solid", "--": "dash", ":": "dot" };
const POLL_MS = 2000;
const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false };

// As in the report: four decimals, and two digits of a loss so small that these show nothing.
function lossText(nats) {
  const digits = nats ? 1 - Math.floor(Math.log10(Math.abs(nats))) : 0;
  return nats.toFixed(Math.min(6, Math.max(4, digits)));
}

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function channels(hex) {
  return [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
}

// On a dark page the control is as light as the text, and dark colours are lightened until they can be seen.
function seen(hex) {
  if (hex.toLowerCase() === CONTROL) return isDark() ? "#e6e9ee" : CONTROL;
  if (!isDark()) return hex;
  let rgb = channels(hex);
  const light = ([r, g, b]) => (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
  while (light(rgb) < 0.5) rgb = rgb.map((value) => Math.ceil(value + (255 - value) * 0.12));
  return `#${rgb.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

function faint(hex, alpha) {
  return `rgba(${channels(hex).join(",")},${alpha})`;
}

// Where values lie on the vertical axis, and how it is labelled.
function scaleOf(panel) {
  const isAccuracy = panel.key.endsWith("accuracy");
  const values = panel.arms.flatMap((arm) => [...arm.low, ...arm.high, ...arm.lines.flatMap((line) => line.values)]);
  const finite = values.filter((value) => value !== null).map((value) => (isAccuracy ? 100 * value : value));
  const text = (value) => (isAccuracy ? `${(100 * value).toFixed(2)} %` : lossText(value));
  if (!isAccuracy) {
    const least = Math.min(...finite);
    const isLog = least > 0 && Math.max(...finite) / least > 4;
    return { place: (value) => value, text, axis: isLog ? { type: "log", dtick: "D2", tickformat: "~g" } : {} };
  }
  const errors = finite.map((value) => 100 - value);
  const [least, most] = [Math.min(...errors), Math.max(...errors)];
  if (!errors.length || least > 10 || most < 5 * Math.max(least, 0.05)) {
    return { place: (value) => 100 * value, text, axis: {} };
  }
  // Stretched towards 100 %: equal distances are equal ratios of the error.
  const floor = Math.max(Math.min(...errors.filter((error) => error > 0)) / 2, 0.005);
  const stretch = (percent) => -Math.log10(Math.max(100 - percent, floor));
  const low = Math.max(100 - most * 1.25, 0);
  const high = 100 - Math.max(least / 1.25, floor);
  const ticks = STRETCHED_TICKS.filter((tick) => low <= tick && tick <= high);
  const room = 0.03 * (stretch(high) - stretch(low)); // A line at 100 % is drawn whole.
  const axis = { range: [stretch(low) - room, stretch(high) + room], tickvals: ticks.map(stretch), ticktext: ticks.map(String) };
  return { place: (value) => stretch(100 * value), text, axis };
}

function tracesOf(arm, scale) {
  const colour = seen(arm.colour);
  const epochs = (from, values) => values.map((_, index) => from + index);
  const shape = { hovertemplate: `%{fullData.name}, epoch %{x}: %{customdata}<extra></extra>`, showlegend: false };
  const along = (values, from, extra) => ({
    ...shape, name: arm.arm, x: epochs(from, values), y: values.map((v) => (v === null ? null : scale.place(v))),
    customdata: values.map((v) => (v === null ? "" : scale.text(v))), mode: "lines", ...extra,
  });
  const traces = [];
  if (arm.runs > 1 && arm.mean.length > 1) {
    const edge = { line: { width: 0 }, hoverinfo: "skip", hovertemplate: undefined };
    traces.push(along(arm.low, 1, edge));
    traces.push(along(arm.high, 1, { ...edge, fill: "tonexty", fillcolor: faint(colour, 0.16) }));
  }
  if (arm.mean.length) {
    const mode = arm.mean.length === 1 ? "markers" : "lines";
    traces.push(along(arm.mean, 1, { mode, line: { color: colour, width: 2.2, dash: DASHES[arm.dash] }, marker: { color: colour }, cliponaxis: false }));
  }
  for (const line of arm.lines) {
    const name = `${arm.arm}, seed ${line.seed}`;
    const isOpen = line.state === "training" || line.state === "stopped";
    const thin = { color: colour, width: isOpen ? 1.4 : 0.9, dash: DASHES[arm.dash] };
    traces.push(along(line.values, line.start, { name, line: thin, opacity: 0.8 }));
    const last = line.values.findLastIndex((value) => value !== null);
    if (isOpen || line.state === "diverged") {
      const symbol = isOpen ? "circle" : "x";
      traces.push({ ...along([line.values[last]], line.start + last, { name, mode: "markers", cliponaxis: false }), marker: { color: colour, size: 7, symbol } });
    }
  }
  return traces;
}

// Whole epochs only, however few there are.
function ticksOf(panel) {
  const last = Math.max(...panel.arms.flatMap((arm) => [arm.mean.length, ...arm.lines.map((line) => line.start + line.values.length - 1)]));
  if (last === 1) return { range: [0, 2], tickvals: [1] };
  return last <= 10 ? { tick0: 1, dtick: 1, tickformat: "d" } : { nticks: 8, tickformat: "d" };
}

function layoutOf(panel, scale) {
  const line = colourOf("--line");
  const axis = { gridcolor: line, zeroline: false, linecolor: colourOf("--strong-line"), fixedrange: true, ticks: "" };
  const isAccuracy = panel.key.endsWith("accuracy");
  return {
    height: 270, margin: { l: 52, r: 12, t: 8, b: 40 }, hovermode: "closest", dragmode: false, showlegend: false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colourOf("--soft") },
    xaxis: { ...axis, title: { text: "epoch", standoff: 6 }, ...ticksOf(panel) },
    yaxis: { ...axis, title: { text: isAccuracy ? "%" : "nats", standoff: 4 }, ...scale.axis },
    hoverlabel: { bgcolor: colourOf("--paper"), bordercolor: colourOf("--strong-line"), font: { color: colourOf("--ink") } },
  };
}

function lastOf(arm) {
  const ends = arm.lines.flatMap((line) => line.values.map((value, index) => [line.start + index, value]));
  const open = ends.filter(([, value]) => value !== null);
  if (arm.mean.length) return { epoch: arm.mean.length, value: arm.mean.at(-1), what: `mean of ${arm.runs}` };
  if (!open.length) return null;
  const [epoch, value] = open.reduce((best, each) => (each[0] >= best[0] ? each : best));
  return { epoch, value, what: "furthest run" };
}

function described(panel, arms, scale) {
  const said = arms.map((arm) => [arm.arm, lastOf(arm)]).filter(([, last]) => last !== null);
  return `${panel.title} by epoch. ${said.map(([arm, last]) => `${arm}: ${scale.text(last.value)} at epoch ${last.epoch}`).join("; ")}.`;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

class CurvesView {
  constructor(root) {
    this.root = root;
    this.hidden = new Set();
    this.text = null;
    this.data = null;
  }

  get address() {
    const chosen = document.querySelector("[data-chooses=curves]");
    const source = new URL(this.root.dataset.curves, location.href);
    if (chosen !== null) source.searchParams.set("question", chosen.value);
    return source;
  }

  async refresh() {
    const asked = this.address.href;
    const response = await fetch(asked, { cache: "no-cache" });
    const text = await response.text();
    if (asked !== this.address.href || text === this.text) return;
    const status = this.root.querySelector("[role=status]");
    if (!response.ok) {
      status.textContent = JSON.parse(text).error;
      return;
    }
    this.text = text;
    const answer = JSON.parse(text);
    this.data = answer.curves ?? answer;
    status.textContent = this.data.panels.length ? "" : "No run has finished an epoch yet.";
    this.draw();
  }

  draw() {
    if (this.data === null) return;
    const { panels } = this.data;
    this.drawLegend(panels[0]?.arms ?? []);
    const place = this.root.querySelector(".panels");
    for (const figure of [...place.children]) {
      if (!panels.some((panel) => panel.key === figure.dataset.key)) figure.remove();
    }
    // All of them first: how wide one is depends on how many there are.
    const figures = panels.map((panel) => this.figureOf(place, panel));
    panels.forEach((panel, index) => this.drawPanel(figures[index], panel));
    this.drawTable(panels);
  }

  figureOf(place, panel) {
    let figure = place.querySelector(`[data-key=${panel.key}]`);
    if (figure === null) {
      figure = element("figure", undefined, { "data-key": panel.key });
      figure.append(element("figcaption", panel.title), element("div", undefined, { class: "plot", role: "img" }));
      place.append(figure);
    }
    return figure;
  }

  drawPanel(figure, panel) {
    const arms = panel.arms.filter((arm) => !this.hidden.has(arm.arm));
    const scale = scaleOf({ ...panel, arms });
    const plot = figure.querySelector(".plot");
    plot.setAttribute("aria-label", described(panel, arms, scale));
    // What came first in the list lies on top: the control.
    const traces = [...arms].reverse().flatMap((arm) => tracesOf(arm, scale));
    window.Plotly.react(plot, traces, layoutOf(panel, scale), CONFIG);
  }

  drawLegend(arms) {
    const legend = this.root.querySelector(".legend");
    const names = arms.map((arm) => arm.arm).join("\n") + isDark();
    if (legend.dataset.names === names) return;
    legend.dataset.names = names;
    legend.replaceChildren(...arms.map((arm) => this.legendButton(arm)));
  }

  legendButton(arm) {
    const button = element("button", undefined, { type: "button", "aria-pressed": String(!this.hidden.has(arm.arm)) });
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const dash = { "-": "", "--": "6 4", ":": "2 3" }[arm.dash];
    for (const [name, value] of Object.entries({ width: 24, height: 10, "aria-hidden": "true" })) svg.setAttribute(name, value);
    for (const [name, value] of Object.entries({ d: "M1 5h22", stroke: seen(arm.colour), "stroke-width": 3, "stroke-dasharray": dash })) {
      stroke.setAttribute(name, value);
    }
    svg.append(stroke);
    button.append(svg, arm.arm);
    button.addEventListener("click", () => {
      const isShown = this.hidden.delete(arm.arm) || !this.hidden.add(arm.arm);
      button.setAttribute("aria-pressed", String(isShown));
      this.draw();
    });
    return button;
  }

  drawTable(panels) {
    const details = this.root.querySelector(".values");
    details.hidden = panels.length === 0;
    const head = element("tr");
    head.append(...["Arm", "Epoch", ...panels.map((panel) => panel.title)].map((text) => element("th", text, { scope: "col" })));
    const rows = (panels[0]?.arms ?? []).map((arm, index) => {
      const row = element("tr");
      const lasts = panels.map((panel) => lastOf(panel.arms[index]));
      const first = lasts.find((last) => last !== null);
      row.append(element("th", arm.arm, { scope: "row" }), element("td", first ? `${first.epoch} (${first.what})` : "–"));
      row.append(...lasts.map((last, at) => element("td", last ? scaleOf(panels[at]).text(last.value) : "–", { class: "number" })));
      return row;
    });
    const [thead, tbody] = [element("thead"), element("tbody")];
    thead.append(head);
    tbody.append(...rows);
    details.querySelector("table").replaceChildren(thead, tbody);
  }
}

function start() {
  for (const root of document.querySelectorAll("[data-curves]")) {
    const view = new CurvesView(root);
    const again = () => view.refresh().catch(() => undefined); // The next turn asks again.
    again();
    document.querySelector("[data-chooses=curves]")?.addEventListener("change", again);
    document.addEventListener("paribus:changed", again);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.draw());
    setInterval(() => {
      if (!document.hidden && document.querySelector(".state.running") !== null) again();
    }, POLL_MS);
  }
}

// Deferred scripts run before modules that stand after them only where both are ready; plotly is large.
if (window.Plotly) start();
else document.querySelector("script[src^='/static/plotly.js']").addEventListener("load", start);

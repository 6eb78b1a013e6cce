// What the report pages' scripts share: finding and making elements, showing responses, drawing curves with bands.

const data = JSON.parse(document.getElementById("data").textContent);
const labels = new Map(data.cycles.map(({ cycle, label }) => [cycle, label]));
const titled = (cycle) => cycle < 0 ? "Base model" : `Cycle ${labels.get(cycle)}`;
const known = (value) => value !== null && value !== undefined;
const byId = (id) => document.getElementById(id);
const element = (tag, className, text) => {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

// Responses

const badge = ({ name, score, missing }) => {
  if (!known(score)) return element("span", `badge ${name} missing`, `${name} missing${missing ? `: ${missing}` : ""}`);
  const made = element("span", `badge ${name}`, `${name} ${Math.round(score)}`);
  made.style.setProperty("--share", `${Math.max(0, Math.min(100, score))}%`);
  return made;
};

const responseColumn = (heading, sample, none = "No such sample.") => {
  const made = element("article", "column");
  const badges = element("div", "badges");
  if (sample) badges.append(...sample.scores.map(badge));
  if (sample?.cut) badges.append(element("span", "badge plain", "cut at the token limit"));
  const absent = !sample ? none : !known(sample.response) ? "Not generated." : !sample.response.trim() ? "Empty response." : "";
  const text = element("p", absent ? "response absent" : "response", absent || sample.response);
  text.dir = "auto";
  made.append(heading, badges, text);
  return made;
};

const fillList = (list, texts) => texts.forEach((text, place) => {
  const option = element("option", "", text);
  option.value = place;
  list.append(option);
});

const questionTexts = () => data.questions.map(({ prompt }, place) => `${place + 1}. ${prompt.replace(/\s+/g, " ").slice(0, 160)}`);

const stepper = (name, show) => {  // a list or a slider, between a button back and a button on
  const control = byId(name), back = byId(`previous-${name}`), on = byId(`next-${name}`);
  const isList = control instanceof HTMLSelectElement;
  const at = () => isList ? control.selectedIndex : Number(control.value);
  const last = () => isList ? control.length - 1 : Number(control.max);
  const go = (place) => { isList ? control.selectedIndex = place : control.value = place; };
  const settle = () => { back.disabled = at() <= 0; on.disabled = at() >= last(); };
  const limit = (count) => {  // a slider's number of places
    const place = Math.max(0, Math.min(at(), count - 1));
    control.max = Math.max(0, count - 1);
    go(place);
    control.disabled = count < 2;
  };
  const step = (by) => () => { go(at() + by); show(); };
  control.addEventListener(isList ? "change" : "input", show);
  back.addEventListener("click", step(-1));
  on.addEventListener("click", step(1));
  return { at, go, settle, limit };
};

const indicesOf = (samples) => [...new Set(samples.map(({ index }) => index))].sort((one, other) => one - other);

const fillColumns = (made) => {  // keeps the reader's place when the columns change
  const columns = byId("columns"), scrolled = columns.scrollLeft;
  columns.replaceChildren(...made);
  columns.scrollLeft = scrolled;
};

// Curves

const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");  // Plotly reads some tags in texts
const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const faint = (colour, share = 0.16) => `rgba(${[1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16))}, ${share})`;
const hoverText = (title, point) => plain(
  `${title}, ${titled(point.cycle).toLowerCase()}: ${point.text}; n ${point.n}` + (point.missing ? `, ${point.missing} missing` : ""));

const runsOf = (points) => {  // stretches of neighbouring cycles whose intervals are known
  const runs = [];
  for (const point of points) {
    if (!known(point.low) || !known(point.high)) continue;
    const last = runs.at(-1);
    if (last && last.at(-1).cycle === point.cycle - 1) last.push(point); else runs.push([point]);
  }
  return runs;
};

const intervalBars = (points, colour) => ({
  type: "data", symmetric: false, color: colour, thickness: 1, width: 4,
  array: points.map((point) => known(point.high) ? point.high - point.mean : 0),
  arrayminus: points.map((point) => known(point.low) ? point.mean - point.low : 0),
});

// A curve: bands, a line that breaks where a cycle is missing, and bars where a cycle has no neighbour for a band.
// Points {cycle, x, mean, low, high, text}, all with a mean; look {name, title, colour, symbol, dash, share}.
const curveTraces = (points, look) => {
  const silent = { type: "scatter", hoverinfo: "skip", showlegend: false, legendgroup: look.name };
  const runs = runsOf(points);
  const bands = runs.filter((run) => run.length > 1).map((run) => ({
    ...silent, mode: "lines", fill: "toself", fillcolor: faint(look.colour, look.share), line: { width: 0 },
    x: [...run.map((point) => point.x), ...run.map((point) => point.x).reverse()],
    y: [...run.map((point) => point.low), ...run.map((point) => point.high).reverse()],
  }));
  const lone = runs.filter((run) => run.length === 1).flat();
  const bars = lone.length ? [{
    ...silent, mode: "markers", x: lone.map((point) => point.x), y: lone.map((point) => point.mean),
    marker: { color: look.colour, size: 1 }, error_y: intervalBars(lone, look.colour),
  }] : [];
  const gapped = [];
  points.forEach((point, place) => {
    if (place && points[place - 1].cycle !== point.cycle - 1) gapped.push({ x: null, mean: null });
    gapped.push(point);
  });
  return [...bands, ...bars, {
    type: "scatter", mode: "lines+markers", legendgroup: look.name, name: plain(look.title), showlegend: points.length > 0,
    x: gapped.map((point) => point.x), y: gapped.map((point) => point.mean),
    customdata: gapped.map((point) => known(point.cycle) ? hoverText(look.title, point) : ""),
    hovertemplate: "%{customdata}<extra></extra>",
    line: { color: look.colour, width: 2, dash: look.dash ?? "solid" }, marker: { color: look.colour, size: look.symbol.startsWith("triangle") ? 9 : 7, symbol: look.symbol },
  }];
};

// The base model is no cycle: it is shown apart, with an open mark and a bar.
const baseTrace = (points, look) => ({
  type: "scatter", mode: "markers", legendgroup: look.name, name: plain(look.title), showlegend: false,
  x: points.map((point) => point.x), y: points.map((point) => point.mean),
  customdata: points.map((point) => hoverText(look.title, point)), hovertemplate: "%{customdata}<extra></extra>",
  marker: { color: look.colour, size: 8, symbol: `${look.symbol}-open`, line: { width: 2 } }, error_y: intervalBars(points, look.colour),
});

const curveLayout = (measure, nTicks, changes = {}) => {
  const values = data.cycles.map(({ cycle }) => cycle);
  const [first, last] = values.length ? [values[0], values.at(-1)] : [0, 1];
  const step = Math.ceil(values.length / nTicks);
  const ticks = values.filter((cycle) => cycle < 0 || cycle % step === 0);
  const axis = { color: tone("soft"), gridcolor: tone("grid"), linecolor: tone("line"), zeroline: false, fixedrange: true };
  const ranges = { trait: { range: [-2, 102], dtick: 20 }, coherence: { range: [-2, 102], dtick: 20 }, distinct_words: { range: [0, 1.02] } };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: tone("ink") },
    margin: { l: 40, r: 12, t: 8, b: 40 }, hovermode: "closest", showlegend: false,
    hoverlabel: { bgcolor: tone("panel"), bordercolor: tone("line"), font: { color: tone("ink") }, align: "left" },
    xaxis: { ...axis, showgrid: false, range: [first - 0.4, last + 0.4], tickvals: ticks,
      ticktext: ticks.map((cycle) => labels.get(cycle)), title: { text: "cycle", standoff: 4, font: { size: 12 } } },
    yaxis: { ...axis, ...(ranges[measure] ?? { rangemode: "tozero", nticks: 5 }) },
    ...changes,
  };
};

const drawFigure = (place, traces, layout) => Plotly.react(place, traces, layout, { displayModeBar: false, responsive: true });

const figureBox = (measure) => {
  const box = element("div", ""), place = element("div", "figure");
  place.dataset.measures = measure.name;
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", `${measure.title} by cycle`);
  box.append(element("h3", "", measure.title), place);
  return box;
};

const redrawWithTheme = (drawAll) => {
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
};

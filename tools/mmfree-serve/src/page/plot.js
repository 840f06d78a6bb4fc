// Tokens a second over the time of a run.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 260;
const HEIGHT = 84;
const BOTTOM = 14;

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Seconds for which a rate is taken at least: a network brings several tokens at once. */
const SPAN = 0.1;

/** The times at which tokens came, in seconds from the request on, as points of time and rate. */
export function rates(times) {
  const end = times.at(-1) ?? 0;
  const bins = Math.min(Math.floor(end / SPAN), 40);
  const counts = Array(bins).fill(0);
  times.forEach((time) => counts[Math.min(Math.floor((time / end) * bins), bins - 1)]++);
  return counts.map((count, n) => [((n + 0.5) * end) / bins, (count * bins) / end]);
}

export function draw(place, times) {
  const points = rates(times);
  if (points.length < 3) {
    place.replaceChildren();
    return;
  }
  const end = times.at(-1);
  const top = Math.max(...points.map(([, rate]) => rate)) * 1.1;
  const x = (seconds) => 1 + (seconds / end) * (WIDTH - 2);
  const y = (rate) => HEIGHT - BOTTOM - (rate / top) * (HEIGHT - BOTTOM - 12);
  const line = points.map(([seconds, rate]) => `${x(seconds).toFixed(1)},${y(rate).toFixed(1)}`).join(" ");
  const floor = HEIGHT - BOTTOM;
  const svg = element("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    "aria-label": `Tokens a second over ${end.toFixed(1)} seconds: ${Math.min(...points.map((p) => p[1])).toFixed(1)} to ${(top / 1.1).toFixed(1)}`,
  });
  svg.append(
    element("polygon", { class: "area", points: `${x(points[0][0]).toFixed(1)},${floor} ${line} ${x(points.at(-1)[0]).toFixed(1)},${floor}` }),
    element("polyline", { class: "line", points: line }),
    element("line", { class: "axis", x1: 0, x2: WIDTH, y1: floor, y2: floor }),
    element("text", { x: 0, y: 9 }, `${(top / 1.1).toFixed(top > 99 ? 0 : 1)} tokens/s`),
    element("text", { x: 0, y: HEIGHT - 2 }, "0 s"),
    element("text", { x: WIDTH, y: HEIGHT - 2, "text-anchor": "end" }, `${end.toFixed(1)} s`),
  );
  place.replaceChildren(svg);
}

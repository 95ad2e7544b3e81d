// Draws the last minutes as lines: one scale, a line or two, what the pointer is over.

import { draw, keep, make, mark, tell } from "./dom.js";
import { ago, duration } from "./words.js";

const WIDTH = 300;
const HEIGHT = 84;
const SPAN_S_MIN = 60; // of a frontend that has just started
const JOINED_S_MAX = 6; // points that lie further apart are not one line
const FRESH_S_MAX = 3; // what is older says how old it is

/**
 * A card with a number and its past.
 *
 * @param title what it is
 * @param lines `{ name, field, style }` each; the first one is the number, and may be `filled`
 * @param say makes a value readable
 * @param top the least upper end of the scale; `fixed` keeps it there
 */
export function chart({ title, lines, say, top, fixed = false }) {
  const value = make("span", { class: "value" });
  const aside = make("span", { class: "aside" });
  const upper = make("span", { class: "upper", "aria-hidden": "true" });
  const since = make("span");
  const area = draw("path", { class: `area ${lines[0].style}` });
  const paths = lines.map((line) => draw("path", { class: `line ${line.style}` }));
  const cursor = draw("line", { class: "cursor", y1: 0, y2: HEIGHT, hidden: true });
  const picture = draw(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    draw("path", { class: "grid", d: `M0 .5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}` }),
    draw("path", { class: "ground", d: `M0 ${HEIGHT - 0.5}H${WIDTH}` }),
    area,
    ...paths,
    cursor,
  );
  const element = make(
    "figure",
    { class: "chart" },
    make("figcaption", {}, make("span", { class: "title" }, title), value, aside),
    make("div", { class: "plot" }, picture, upper),
    make("div", { class: "axis", "aria-hidden": "true" }, since, make("span", {}, "now")),
  );
  let shown = { points: [], now: 0, spanS: SPAN_S_MIN };
  let pointedS = null; // how long ago the pointer is

  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    pointedS = shown.spanS * (1 - (event.clientX - box.left) / box.width);
    tellValue();
  });
  picture.addEventListener("pointerleave", () => {
    pointedS = null;
    tellValue();
  });

  function tellValue() {
    const { points, now, spanS } = shown;
    const [first, ...others] = lines;
    const known = points.filter((each) => each[first.field] !== null);
    const point = pointedS === null ? known.at(-1) : nearest(points, now - pointedS);
    const isOld = point && now - point.at_unix_s > FRESH_S_MAX;
    tell(value, say(point?.[first.field]));
    const told = others.map(({ name, field, style }) => ({
      style,
      text: `${name} ${say(point?.[field])}`,
    }));
    if (point && (pointedS !== null || isOld)) told.push({ style: "", text: ago(now - point.at_unix_s) });
    keep(
      aside,
      told,
      (each) => each.style,
      (each) => make("span", { class: each.style && `key ${each.style}` }),
      (element, each) => tell(element, each.text),
    );
    mark(cursor, "hidden", pointedS === null || !point);
    if (pointedS !== null && point) {
      const x = xOf(point, now, spanS).toFixed(1);
      mark(cursor, "x1", x);
      mark(cursor, "x2", x);
    }
  }

  function update(points, now) {
    const spanS = Math.max(SPAN_S_MIN, points.length ? now - points[0].at_unix_s : 0);
    shown = { points, now, spanS };
    const values = lines.map(({ field }) => points.map((each) => each[field] ?? 0));
    const end = fixed ? top : niceTop(Math.max(top, ...values.flat()));
    lines.forEach(({ field }, index) => {
      const isBare = index > 0 && !values[index].some(Boolean); // a second line along the ground
      mark(paths[index], "d", isBare ? "" : pathOf(points, field, shown, end));
    });
    if (lines[0].filled) mark(area, "d", areaOf(points, lines[0].field, shown, end));
    tell(upper, say(end));
    tell(since, `${duration(spanS)} ago`);
    const latest = say(points.at(-1)?.[lines[0].field]);
    const most = say(Math.max(0, ...values[0]));
    mark(picture, "aria-label", `${title}: ${latest} now, at most ${most} since ${duration(spanS)} ago`);
    tellValue();
  }

  return { element, update };
}

function xOf(point, now, spanS) {
  return WIDTH * (1 - (now - point.at_unix_s) / spanS);
}

function yOf(value, end) {
  return (HEIGHT - 1.5) * (1 - Math.min(1, value / end)) + 0.75;
}

function nearest(points, at) {
  let found = null;
  for (const point of points) {
    if (found === null || Math.abs(point.at_unix_s - at) < Math.abs(found.at_unix_s - at)) {
      found = point;
    }
  }
  return found;
}

/** A path through the points that have a value; a lone one is a dot. */
function pathOf(points, field, { now, spanS }, end) {
  let path = "";
  let before = null;
  for (const point of points) {
    if (point[field] === null) continue;
    const at = `${xOf(point, now, spanS).toFixed(1)} ${yOf(point[field], end).toFixed(1)}`;
    const joined = before !== null && point.at_unix_s - before.at_unix_s <= JOINED_S_MAX;
    path += joined ? `L${at}` : `M${at}h.01`;
    before = point;
  }
  return path;
}

/** What lies between a line that has no gaps and the ground. */
function areaOf(points, field, { now, spanS }, end) {
  if (!points.length) return "";
  const x = (point) => xOf(point, now, spanS).toFixed(1);
  const upper = points.map((each) => `${x(each)} ${yOf(each[field] ?? 0, end).toFixed(1)}`);
  return `M${x(points[0])} ${HEIGHT}L${upper.join("L")}L${x(points.at(-1))} ${HEIGHT}Z`;
}

/** The next of 1, 2, 5, 10, 20 … */
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value * 0.999);
}

// Says numbers and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const NONE = "–";

/** 0.4, 12, 1,234, 34.5K */
export function count(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 10_000) return compact.format(value);
  return value < 10 ? tenth.format(value) : whole.format(value);
}

/** 37% */
export function share(value) {
  if (value === null || value === undefined) return NONE;
  const percent = 100 * value;
  return percent > 0 && percent < 1 ? "<1%" : `${whole.format(percent)}%`;
}

/** 8.4 ms, 120 ms, 2.4 s, 3 min */
export function milliseconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 10) return `${tenth.format(value)} ms`;
  if (value < 1000) return `${whole.format(value)} ms`;
  if (value < 60_000) return `${tenth.format(value / 1000)} s`;
  return duration(value / 1000);
}

/** 12 s, 5 min, 3 h, 2 d */
export function duration(seconds) {
  if (seconds < 60) return `${whole.format(seconds)} s`;
  if (seconds < 5400) return `${whole.format(seconds / 60)} min`;
  if (seconds < 172_800) return `${whole.format(seconds / 3600)} h`;
  return `${whole.format(seconds / 86_400)} d`;
}

/** just now, 12 s ago */
export function ago(seconds) {
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

/** 1 worker, 2 workers */
export function many(number, what) {
  return `${count(number)} ${what}${number === 1 ? "" : "s"}`;
}

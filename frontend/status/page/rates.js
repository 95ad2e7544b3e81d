// The charts of the page.

import { chart } from "./chart.js";
import { count, milliseconds, share } from "./words.js";

/** Fills an element with charts; the function returned updates them. */
export function rates(parent) {
  const charts = [
    chart({
      title: "Tokens per second",
      lines: [{ field: "tokens", style: "main", filled: true }],
      say: count,
      top: 10,
    }),
    chart({
      title: "Requests per second",
      lines: [
        { field: "requests", style: "main", filled: true },
        { name: "failed", field: "failed", style: "bad" },
      ],
      say: count,
      top: 2,
    }),
    chart({
      title: "Time to first token",
      lines: [
        { field: "ttft_ms", style: "main" },
        { name: "longest", field: "ttft_ms_max", style: "faint" },
      ],
      say: milliseconds,
      top: 10,
    }),
    chart({
      title: "Between tokens",
      lines: [{ field: "inter_token_ms", style: "main" }],
      say: milliseconds,
      top: 10,
    }),
    chart({
      title: "Requests in flight",
      lines: [
        { field: "running", style: "main", filled: true },
        { name: "waiting", field: "waiting", style: "warn" },
      ],
      say: count,
      top: 5,
    }),
    chart({
      title: "KV cache in use",
      lines: [
        { field: "kv_share", style: "second", filled: true },
        { name: "prompts cached", field: "hit_rate", style: "main" },
      ],
      say: share,
      top: 1,
      fixed: true,
    }),
  ];
  parent.append(...charts.map((each) => each.element));
  return (points, now) => charts.forEach((each) => each.update(points, now));
}

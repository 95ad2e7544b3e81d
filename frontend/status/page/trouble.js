// What went wrong, in words, and which requests were slow.

import { keep, make, mark, tell } from "./dom.js";
import { NONE, ago, count, milliseconds } from "./words.js";

/** Shows a snapshot's errors. */
export function showErrors(list, nothing, snapshot) {
  keep(
    list,
    snapshot.errors,
    (error) => `${error.code} ${error.endpoint} ${error.model}`,
    createError,
    (element, error) => updateError(element, error, snapshot.at_unix_s),
  );
  nothing.hidden = snapshot.errors.length > 0;
}

function createError() {
  return make(
    "li",
    { class: "error" },
    make("span", { class: "times" }),
    make("p", { class: "what" }),
    make("p", { class: "where quiet" }),
  );
}

function updateError(element, error, now) {
  const [times, what, where] = element.children;
  mark(element, "data-state", error.status >= 500 ? "bad" : "client");
  tell(times, `${count(error.count)}×`);
  tell(what, error.what);
  const told = [ago(now - error.last_unix_s), `${error.status} ${error.code}`, error.endpoint];
  if (error.model) told.push(error.model);
  told.push(`last: ${error.request_id}`);
  tell(where, told.join(" · "));
}

/** Shows a snapshot's slowest requests. */
export function showSlowest(table, nothing, snapshot) {
  keep(
    table.tBodies[0],
    snapshot.slowest,
    (request) => request.request_id,
    () => make("tr", {}, ...Array.from({ length: 8 }, () => make("td"))),
    updateRequest,
  );
  nothing.hidden = snapshot.slowest.length > 0;
  table.hidden = !nothing.hidden;
}

function updateRequest(row, request) {
  const { prompt_tokens: prompt, cached_tokens: cached, output_tokens: output } = request;
  const cells = [
    milliseconds(1000 * request.took_s),
    milliseconds(1000 * request.queue_s),
    request.ttft_s === null ? NONE : milliseconds(1000 * request.ttft_s),
    `${count(prompt)} → ${count(output)}${cached ? ` (${count(cached)} cached)` : ""}`,
    request.model,
    request.worker,
    request.outcome,
    request.request_id,
  ];
  cells.forEach((text, index) => tell(row.children[index], text || NONE));
}

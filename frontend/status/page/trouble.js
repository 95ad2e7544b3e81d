// What went wrong, in words.

import { keep, make, mark, tell } from "./dom.js";
import { ago, count } from "./words.js";

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

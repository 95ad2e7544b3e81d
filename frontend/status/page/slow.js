// Which requests were slow, and where the time of any of them went.

import { keep, make, mark, tell } from "./dom.js";
import { NONE, count, milliseconds } from "./words.js";

const COLUMNS = 7;

/** Wires the table and the search; the function returned shows a snapshot's slowest requests. */
export function slow(at) {
  let slowest = [];
  let found = null; // what was searched for stays on top

  function show(requests) {
    slowest = requests;
    const others = requests.filter((each) => each.request_id !== found?.request_id);
    const shown = found ? [found, ...others] : others;
    keep(at("slowest").tBodies[0], shown, (each) => each.request_id, createRow, (row, each) =>
      updateRow(row, each, each === found),
    );
    at("slowest").hidden = !shown.length;
    at("no-slowest").hidden = shown.length > 0;
  }

  at("find").addEventListener("submit", async (event) => {
    event.preventDefault();
    const id = at("find-id").value.trim();
    found = null;
    let failure = "";
    if (id) {
      try {
        const answer = await fetch(`/status/requests/${encodeURIComponent(id)}`);
        const told = await answer.json();
        if (answer.ok) found = told;
        else failure = told.error.message;
      } catch {
        failure = "The frontend cannot be reached.";
      }
    }
    tell(at("not-found"), failure);
    show(slowest);
  });

  return show;
}

function createRow() {
  return make("tr", {}, ...Array.from({ length: COLUMNS }, () => make("td")));
}

function updateRow(row, request, isFound) {
  const { prompt_tokens: prompt, cached_tokens: cached, output_tokens: output } = request;
  const cells = [
    milliseconds(1000 * request.took_s),
    stagesOf(request),
    prompt || output ? `${count(prompt)} → ${count(output)}` : NONE,
    request.model,
    request.moves ? `${request.worker} (moved ${request.moves}×)` : request.worker,
    request.outcome,
    request.request_id,
  ];
  mark(row, "class", isFound && "found");
  mark(row.children[2], "title", cached ? `${count(cached)} of the prompt were cached` : null);
  cells.forEach((text, index) => tell(row.children[index], text || NONE));
}

/** How long each stage was, as far as it is known. */
function stagesOf(request) {
  const { prepared_s, queue_s, sent_s, ttft_s, last_token_s, took_s } = request;
  const stages = [];
  const add = (name, seconds) => stages.push(`${name} ${milliseconds(1000 * Math.max(0, seconds))}`);
  if (prepared_s !== null) add("tokenized", prepared_s);
  if (sent_s !== null) add("queued", queue_s);
  if (ttft_s !== null && sent_s !== null) {
    add("prefill", ttft_s - sent_s);
    add("answer", (last_token_s ?? took_s) - ttft_s);
  } else if (sent_s !== null) add("on its worker", took_s - sent_s);
  return stages.join(" · ");
}

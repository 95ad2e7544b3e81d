// Models, and under each the workers that serve it.

import { keep, make, mark, tell } from "./dom.js";
import { NONE, ago, count, duration, many, share } from "./words.js";

const SERVICES = {
  text: "generates text",
  embedding: "makes vectors of texts",
  images: "draws pictures",
  videos: "makes videos",
  encode: "encodes pictures",
};

/** Shows a snapshot's models and workers. */
export function showFleet(parent, note, snapshot) {
  const groups = groupsOf(snapshot);
  keep(parent, groups, (group) => group.key, createModel, updateModel);
  const left = snapshot.workers_left_out;
  const text = groups.length
    ? left && `${many(left, "more worker")} not shown.`
    : "No worker is connected. Start one: kvmesh up, or python -m workers --model-path …";
  note.hidden = !text;
  tell(note, text || "");
}

/** Of each model's name: what is known of it, its workers, and who left. */
function groupsOf(snapshot) {
  const names = new Set(
    [...snapshot.models.map((model) => model.name), ...snapshot.workers.map((each) => each.model)]
      .concat(snapshot.departed.map((each) => each.model)),
  );
  return [...names].sort().map((name) => ({
    key: name,
    name,
    generations: snapshot.models.filter((model) => model.name === name),
    workers: snapshot.workers.filter((worker) => worker.model === name),
    departed: snapshot.departed.filter((worker) => worker.model === name),
    now: snapshot.at_unix_s,
  }));
}

function createModel() {
  return make(
    "article",
    { class: "model" },
    make(
      "header",
      {},
      make("h3"),
      make("span", { class: "tags" }),
      make("span", { class: "figures" }),
    ),
    make("p", { class: "does quiet" }),
    make("ul", { class: "workers" }),
  );
}

function updateModel(element, group) {
  const [model] = group.generations;
  const [header, does, workers] = element.children;
  const [title, tags, figures] = header.children;
  tell(title, group.name);
  keep(tags, tagsOf(group), String, (text) => make("span", { class: "tag" }, text), () => {});
  tell(figures, figuresOf(group));
  tell(does, model ? useOf(model) : "No worker serves it now.");
  const missing = group.generations.length > 0 && group.generations.every((each) => !each.ready);
  mark(element, "data-state", missing || !model ? "bad" : "good");
  keep(
    workers,
    [...group.workers, ...group.departed.map((each) => ({ ...each, state: each.planned ? "left" : "lost" }))],
    (worker) => `${worker.worker_id} ${worker.state === "lost" || worker.state === "left"}`,
    createWorker,
    (each, worker) => updateWorker(each, worker, group),
  );
}

/** What a model is asked through, and what it takes. */
function useOf(model) {
  const told = [model.endpoints.join("  ") || `It ${model.does}.`];
  if (model.service === "text") told.push(`context of ${count(model.context_length)} tokens`);
  if (model.adapters.length) told.push(`adapters ${model.adapters.join(", ")}`);
  return told.join(" · ");
}

function tagsOf({ generations }) {
  const [model] = generations;
  if (!model) return [];
  const tags = [SERVICES[model.service] ?? model.service];
  if (model.sees) tags.push("sees pictures");
  if (!generations.some((each) => each.ready)) tags.push(`no ${model.missing} ready`);
  if (generations.length > 1) tags.push(`${generations.length} generations`);
  return tags;
}

function figuresOf({ generations, workers }) {
  const sum = (field) => generations.reduce((total, each) => total + each[field], 0);
  const told = [many(workers.length, "worker")];
  if (sum("tokens_per_s")) told.push(`${count(sum("tokens_per_s"))} tokens/s`);
  if (sum("waiting")) told.push(`${count(sum("waiting"))} waiting in the queue`);
  return told.join(" · ");
}

function createWorker() {
  return make(
    "li",
    { class: "worker" },
    make(
      "div",
      { class: "who" },
      make("span", { class: "state" }),
      make("span", { class: "id" }),
      make("span", { class: "engine quiet" }),
    ),
    make("p", { class: "why" }),
    make("ul", { class: "ranks" }),
  );
}

function updateWorker(element, worker, { now }) {
  const [who, why, ranks] = element.children;
  const [state, id, engine] = who.children;
  mark(element, "data-state", worker.state);
  tell(state, worker.state);
  tell(id, worker.worker_id);
  tell(engine, engineOf(worker));
  tell(why, whyOf(worker, now));
  why.hidden = !why.textContent;
  const shown = worker.ranks ?? [];
  const single = shown.length === 1;
  keep(ranks, shown, (rank) => String(rank.dp_rank), createRank, (each, rank) =>
    updateRank(each, rank, { single, caches: worker.service === "text" }),
  );
}

function engineOf(worker) {
  if (!worker.engine) return "";
  const told = [worker.engine];
  if (worker.stage !== "whole") told.push(worker.stage);
  if (worker.kv_events === "catching up") told.push("its cache is being learnt");
  return told.join(" · ");
}

function whyOf(worker, now) {
  if (worker.state === "loading") {
    return [`Its engine has been starting for ${duration(worker.loading_s)}.`, worker.why]
      .filter(Boolean)
      .join(" ");
  }
  if (!worker.at_unix_s) return worker.why;
  return `${worker.why.replace(/\.$/, "")}, ${ago(now - worker.at_unix_s)}.`;
}

function createRank() {
  return make(
    "li",
    { class: "rank" },
    make("span", { class: "rank-name quiet" }),
    bar("load"),
    bar("kv"),
    make("span", { class: "hit" }),
  );
}

function bar(name) {
  return make(
    "span",
    { class: `measure ${name}` },
    make("span", { class: "bar", "aria-hidden": "true" }, make("i"), make("b")),
    make("span", { class: "told" }),
  );
}

function updateRank(element, rank, { single, caches }) {
  const [name, load, kv, hit] = element.children;
  tell(name, single ? "" : `rank ${rank.dp_rank}`);
  const running = rank.running / rank.running_max;
  fill(load, running, rank.waiting / rank.running_max, loadOf(rank));
  mark(load, "title", "What its engine runs and has waiting; booked: unfinished ones of this frontend");
  const held = rank.kv_tokens_max ? rank.kv_tokens / rank.kv_tokens_max : 0;
  fill(kv, held, 0, `${share(held)} of ${count(rank.kv_tokens_max)} KV tokens`);
  kv.hidden = hit.hidden = !caches;
  tell(hit, rank.hit_rate === null ? `${NONE} cached` : `${share(rank.hit_rate)} cached`);
  mark(hit, "title", "Share of prompt tokens, over the last minute or so, that its cache held");
}

function loadOf(rank) {
  const told = [`${count(rank.running)}/${count(rank.running_max)} running`];
  if (rank.waiting) told.push(`${count(rank.waiting)} waiting`);
  told.push(`${count(rank.booked)} booked`);
  return told.join(" · ");
}

function fill(measure, first, second, text) {
  const [track, told] = measure.children;
  const [one, two] = track.children;
  one.style.setProperty("--share", Math.min(1, first).toFixed(4));
  two.style.setProperty("--share", Math.min(1, second).toFixed(4));
  mark(track, "data-full", first > 0.9 || null);
  tell(told, text);
}

// The chat box: a model is asked as any client asks it, over the same endpoints.

import { keep, make, tell } from "./dom.js";
import { Refused, stream } from "./stream.js";
import { uploads } from "./uploads.js";
import { count, milliseconds } from "./words.js";

const MESSAGES_MAX = 60; // that are shown and sent again: pictures among them are megabytes

/** Wires the chat box; the function returned is told which models there are. */
export function talk(at) {
  const [log, prompt, send, select] = [at("talk"), at("prompt"), at("send"), at("model")];
  const shelf = uploads(at("pictures"), (why) => say("note", why));
  let messages = [];
  let models = [];
  let running = null; // aborts what runs

  const chosen = () => models.find((model) => model.id === select.value);

  function showModels(served) {
    models = served.filter((model) => model.ready).flatMap(asked);
    models = models.filter((each, index) => models.findIndex(({ id }) => id === each.id) === index);
    models.sort((one, other) => one.draws - other.draws);
    keep(
      select,
      models,
      (model) => model.id,
      (model) => make("option", { value: model.id }, model.id),
      () => {},
    );
    showChosen();
  }

  function showChosen() {
    const model = chosen();
    prompt.disabled = !model;
    send.disabled = !model;
    prompt.placeholder = !model
      ? "No model to ask is served at the moment"
      : model.draws
        ? "Describe a picture"
        : "Ask something";
    at("attach").hidden = !model?.sees;
    tell(at("does"), model?.draws ? "draws pictures" : model?.sees ? "sees pictures" : "");
  }

  function say(role, text = "") {
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const body = make("p", { class: "text" }, text);
    const message = make("div", { class: `message ${role}` }, body);
    log.append(message);
    at("talk-hint").hidden = true;
    while (log.children.length > MESSAGES_MAX) log.firstElementChild.remove();
    if (below) log.scrollTop = log.scrollHeight;
    return message;
  }

  /**
   * Lets the log follow what is written, unless somebody has scrolled up.
   *
   * A picture that is shown takes its room once it is loaded.
   */
  function following(change, picture = null) {
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const follow = () => {
      if (below) log.scrollTop = log.scrollHeight;
    };
    picture?.addEventListener("load", follow, { once: true });
    change();
    follow();
  }

  async function ask() {
    const text = prompt.value.trim();
    const model = chosen();
    if (!text || !model) return;
    prompt.value = "";
    const pictures = shelf.take();
    const question = say("user", text);
    for (const url of pictures) {
      const shown = make("img", { src: url, alt: "Your picture" });
      following(() => question.append(shown), shown);
    }
    running = new AbortController();
    tell(send, "Stop");
    log.setAttribute("aria-busy", "true");
    const answer = say("assistant");
    answer.classList.add("waiting");
    try {
      if (model.draws) await drawPicture(model, text, answer);
      else await chat(model, text, model.sees ? pictures : [], answer);
    } catch (error) {
      if (error.name !== "AbortError") answer.append(make("p", { class: "failed" }, wordsOf(error)));
      else answer.append(make("p", { class: "meta" }, "stopped"));
    } finally {
      answer.classList.remove("waiting");
      running = null;
      tell(send, "Send");
      log.removeAttribute("aria-busy");
      following(() => {});
    }
  }

  async function chat(model, text, pictures, answer) {
    const parts = pictures.map((url) => ({ type: "image_url", image_url: { url } }));
    const content = parts.length ? [...parts, { type: "text", text }] : text;
    messages = [...messages, { role: "user", content }].slice(-MESSAGES_MAX);
    const begun = performance.now();
    let first = null;
    let usage = null;
    let said = "";
    const body = answer.firstElementChild;
    const chunks = stream(
      "/v1/chat/completions",
      { model: model.id, messages, stream: true, stream_options: { include_usage: true } },
      running.signal,
    );
    try {
      for await (const chunk of chunks) {
        usage = chunk.usage ?? usage;
        const delta = chunk.choices[0]?.delta ?? {};
        const thought = delta.reasoning_content ?? "";
        if (first === null && (delta.content || thought)) {
          first = performance.now();
          answer.classList.remove("waiting");
        }
        said += delta.content ?? "";
        following(() => {
          if (thought) thoughts(answer).append(thought);
          if (delta.content) body.append(delta.content);
        });
      }
    } finally {
      if (said) messages.push({ role: "assistant", content: said });
    }
    following(() => answer.append(make("p", { class: "meta" }, metaOf(usage, begun, first))));
  }

  async function drawPicture(model, text, answer) {
    const begun = performance.now();
    const picture = make("img", { alt: text, hidden: true });
    answer.append(picture);
    const events = stream(
      "/v1/images/generations",
      { model: model.id, prompt: text, stream: true, partial_images: 3 },
      running.signal,
    );
    let seed = null;
    for await (const event of events) {
      if (!event.b64_json) continue;
      following(() => {
        picture.src = `data:image/${event.output_format};base64,${event.b64_json}`;
        picture.hidden = false;
        picture.classList.toggle("partial", !event.type.endsWith("completed"));
      }, picture);
      seed = event.seed ?? seed;
      answer.classList.remove("waiting");
    }
    const told = [milliseconds(performance.now() - begun)];
    if (seed !== null) told.push(`seed ${seed}`);
    following(() => answer.append(make("p", { class: "meta" }, told.join(" · "))));
  }

  at("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else ask();
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || running) return;
    event.preventDefault();
    ask();
  });
  prompt.addEventListener("paste", (event) => {
    if (chosen()?.sees) shelf.add(event.clipboardData.files);
  });
  at("attach").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", async () => {
    await shelf.add(at("file").files);
    at("file").value = "";
  });
  at("clear").addEventListener("click", () => {
    running?.abort();
    messages = [];
    log.replaceChildren();
    at("talk-hint").hidden = false;
    prompt.focus();
  });
  select.addEventListener("change", () => {
    messages = [];
    showChosen();
  });
  return showModels;
}

/** What of a served model somebody may be asked: itself, and each of its adapters. */
function asked(model) {
  const draws = model.endpoints.includes("/v1/images/generations");
  if (!draws && !model.endpoints.includes("/v1/chat/completions")) return [];
  const adapters = draws ? [] : model.adapters;
  return [model.name, ...adapters.map((adapter) => `${model.name}:${adapter}`)].map((id) => ({
    id,
    draws,
    sees: model.sees,
  }));
}

/** Where an answer's thinking is shown, folded. */
function thoughts(answer) {
  const known = answer.querySelector("details p");
  if (known) return known;
  const text = make("p");
  answer.prepend(make("details", {}, make("summary", {}, "Thinking"), text));
  return text;
}

function metaOf(usage, begun, first) {
  const told = [];
  if (usage) told.push(`${count(usage.completion_tokens)} tokens`);
  if (first !== null) {
    told.push(`first after ${milliseconds(first - begun)}`);
    const seconds = (performance.now() - first) / 1000;
    if (usage?.completion_tokens > 1 && seconds > 0) {
      told.push(`${count((usage.completion_tokens - 1) / seconds)} tokens/s`);
    }
  }
  return told.join(" · ");
}

function wordsOf(error) {
  return error instanceof Refused ? error.message : "The connection to the frontend broke.";
}

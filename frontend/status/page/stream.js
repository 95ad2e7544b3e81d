// Reads what an endpoint streams, event by event.

/** An answer that says no; `message` is the server's own. */
export class Refused extends Error {}

/**
 * Posts a body and yields the JSON of each event of the answer.
 *
 * @throws Refused the answer, or an event of it, is an error
 */
export async function* stream(path, body, signal) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (!answer.ok) throw new Refused(await messageOf(answer));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event
        .split("\n")
        .filter((line) => line.startsWith("data: "))
        .map((line) => line.slice(6))
        .join("\n");
      if (!data || data === "[DONE]") continue;
      const told = JSON.parse(data);
      if (told.error) throw new Refused(told.error.message);
      yield told;
    }
  }
}

async function messageOf(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `The frontend answered ${answer.status}.`;
  }
}

// Follows /status/events, and keeps the points of the last minutes.

const QUIET_MS_MAX = 5000; // an event comes every second: behind this the connection is no good
const RETRY_MS = 2000;

/**
 * Calls `onSnapshot(snapshot, points)` every second, and `onLost(why)` while there is nothing to
 * follow. A page that nobody sees does not watch, so that it takes no one's place.
 */
export function follow(onSnapshot, onLost) {
  let source = null;
  let quiet = 0;
  let retry = 0;
  let points = [];

  function connect() {
    close();
    let isFirst = true;
    source = new EventSource("/status/events");
    source.onmessage = (event) => {
      watchFor(QUIET_MS_MAX);
      const snapshot = JSON.parse(event.data);
      points = isFirst ? snapshot.history : points.concat(snapshot.history);
      isFirst = false;
      points = points.filter((point) => point.at_unix_s > snapshot.at_unix_s - 300);
      onSnapshot(snapshot, points);
    };
    source.onerror = () => lose("The frontend cannot be reached. Trying again …");
    watchFor(QUIET_MS_MAX);
  }

  function watchFor(milliseconds) {
    clearTimeout(quiet);
    quiet = setTimeout(() => lose("Nothing comes from the frontend. Trying again …"), milliseconds);
  }

  async function lose(why) {
    close();
    retry = setTimeout(connect, RETRY_MS);
    onLost(why);
    const told = await reasonOf();
    if (told !== null && source === null) onLost(told);
  }

  function close() {
    clearTimeout(quiet);
    clearTimeout(retry);
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : connect()));
  if (!document.hidden) connect();
}

/** Why nothing is to be followed, in the frontend's own words; null if it says nothing. */
async function reasonOf() {
  const abort = new AbortController();
  try {
    const answer = await fetch("/status/events", { signal: abort.signal });
    return answer.ok ? null : `${(await answer.json()).error.message}`;
  } catch {
    return null;
  } finally {
    abort.abort();
  }
}

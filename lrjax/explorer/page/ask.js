// Questions to the server.

let underWay = 0;

/** Ask one question. A refusal is an object with `error`: status 200, so that the browser does not report it. */
export async function ask(path, body) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Prefer: "handling=lenient" },
      body: JSON.stringify(body),
    });
    return await response.json();
  } catch {
    return { error: "The server does not answer. Was it stopped?" };
  }
}

/**
 * A function that asks again and again, one question at a time: while one is under way only the newest waits. How
 * long each took, to the frame that shows it, is kept as a measure of the browser's, "change".
 */
export function latest(path, show) {
  let waiting = null;
  let busy = false;
  return async function change(body) {
    waiting = { body, start: performance.now() };
    if (busy) return;
    busy = true;
    mark(1);
    try {
      while (waiting) {
        const { body: now, start } = waiting;
        waiting = null;
        show(await ask(path, now), now);
        requestAnimationFrame(() => performance.measure("change", { start }));
      }
    } finally {
      busy = false;
      mark(-1);
    }
  };
}

function mark(change) {
  underWay += change;
  document.documentElement.dataset.state = underWay ? "asking" : "idle";
}

// Small live graphs of the last minute, and the strip that shows when the face was edited.

const KEEP = 120; // points: two a second
const UNITS = { delay_ms: "ms", edit_ms_p95: "ms", av_offset_ms: "ms", kbps: "kb/s" };
export const FACES = {
  edited: "found, edited", no_face: "none", turned_away: "turned away", covered: "covered", too_small: "too small",
  cut: "a cut", overload: "computer too slow", preparing: "being prepared", size_changed: "new picture size",
  enrolling: "new, being learnt", not_enrolled: "new, could not be learnt",
};

let history = {};

export function forget() { history = {}; }

function prepared(canvas) {
  const scale = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  return [canvas.getContext("2d"), scale];
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

function line(canvas, values) {
  const [context, scale] = prepared(canvas), low = Math.min(0, ...values), high = Math.max(1, ...values) * 1.1;
  const x = (i) => (i / (KEEP - 1)) * canvas.width, y = (v) => canvas.height - ((v - low) / (high - low)) * canvas.height;
  context.strokeStyle = colour("--accent");
  context.lineWidth = 2 * scale;
  context.beginPath();
  values.forEach((v, i) => context.lineTo(x(KEEP - values.length + i), y(v)));
  context.stroke();
}

function strip(canvas, states) {
  const [context] = prepared(canvas), width = canvas.width / KEEP;
  states.forEach((state, i) => {
    context.fillStyle = state === "edited" ? colour("--accent") : state === "overload" ? colour("--bad") : colour("--line");
    context.fillRect((KEEP - states.length + i) * width, 0, width + 0.5, canvas.height);
  });
}

// Show one answer of the server: every [data-of] as text, every [data-graph] as a line, the face as a strip.
export function show(state) {
  const stats = state.stats || {}, rates = Object.values(state.sent_kbps || {});
  const values = { ...stats, viewers: state.viewers, face: FACES[stats.face] || stats.face,
    kbps: rates.length ? Math.max(...rates) : null, lost: `${stats.skipped ?? 0} + ${stats.late ?? 0}` };
  for (const place of document.querySelectorAll("[data-of]")) {
    const value = values[place.dataset.of];
    place.textContent = value == null ? "-" : typeof value === "number" ? `${+value.toFixed(1)} ${UNITS[place.dataset.of] || ""}` : value;
  }
  for (const canvas of document.querySelectorAll("[data-graph]")) {
    const name = canvas.dataset.graph, value = name === "face" ? stats.face : values[name] ?? 0;
    history[name] = [...(history[name] || []), value].slice(-KEEP);
    (name === "face" ? strip : line)(canvas, history[name]);
  }
}

// Faces: known ones are picked, a new one is learnt while its pictures pass through, and can be saved.

const $ = (id) => document.getElementById(id);
const NEW = "\u0000new";

export function offer(names, qualities) {
  const chosen = $("speaker").value;
  $("speaker").replaceChildren(...names.map((name) => new Option(name)), new Option("a new face: learn it live", NEW));
  if (names.includes(chosen)) $("speaker").value = chosen;
  $("quality").replaceChildren(...qualities.map((name) => new Option(name)));
  choose();
}

export function choose() { $("new-face").hidden = $("speaker").value !== NEW; }

// What a new session is asked for; `trouble` makes the error when the name is missing.
export function wanted(trouble) {
  if ($("speaker").value !== NEW) return { speaker: $("speaker").value };
  const name = $("face-name").value.trim();
  if (!name) throw trouble("Give the new face a name first.");
  return { enroll: { name, quality: $("quality").value } };
}

export function isNew() { return $("speaker").value === NEW; }

// Show how learning goes; gives the name of a face that was learnt, once.
let told = null;
export function show(enrolment) {
  $("learning").hidden = !enrolment;
  $("save-face").hidden = enrolment?.phase !== "done";
  if (!enrolment) { told = null; return null; }
  const { phase, what, done, total, problem, name } = enrolment;
  const bar = $("learn-bar");
  bar.hidden = phase === "done" || phase === "failed";
  if (total) { bar.max = total; bar.value = done; } else bar.removeAttribute("value");
  $("learn-text").textContent = phase === "done" ? `${name} is learnt` : phase === "failed" ? `${name}: ${problem}`
    : `${what}${total ? ` (${done} of ${total}${phase === "looking" ? " s" : ""})` : ""}; the picture is not edited yet`;
  if (phase !== "done" || told === name) return null;
  told = name;
  return name;
}

export async function save(name, headers) {
  const answer = await fetch(`/api/speakers/${encodeURIComponent(name)}`, { headers });
  if (!answer.ok) throw new Error(`the face cannot be saved: the server answered ${answer.status}`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${name}.safetensors`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

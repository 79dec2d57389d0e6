// The page of `livedub serve`: begins a session, sends camera or microphone by WHIP, watches by WHEP.
// It asks only the server that it came from. The picture arrives as edited | source side by side, so that
// both halves of the slider are always of the same moment.

import * as faces from "./faces.js";
import * as graphs from "./graphs.js";
import * as timecode from "./timecode.js";

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.hash.slice(1));
const token = asked.get("token"), measures = asked.has("bench");
const authorised = token ? { Authorization: `Bearer ${token}` } : {};
const PATIENCE_MS = 20000; // a connection that is not up by then has found no way
const ASKING = "waiting for your permission to use the camera or microphone";
const STATES = {
  waiting: "waiting for the first picture", loading: "loading the model and measuring this computer", running: "live",
  ended: "the source has ended", failed: "failed", closed: "ended",
};

let session = null; // address of the running session
let watching = null; // {peer, place} of WHEP
let sending = []; // {peer, place, stream} of WHIP: camera with microphone, or each by itself
let polling = 0, preparing = 0;
let starting = false;
let asking = false; // whether the browser asks for camera or microphone
let own = true; // whether this page began the session: only then it ends it
let engine = null;

class Trouble extends Error {}

async function call(method, path, body, type = "application/json") {
  const headers = { ...authorised };
  if (body !== undefined) headers["Content-Type"] = type;
  const data = type === "application/json" && body !== undefined ? JSON.stringify(body) : body;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: data });
  } catch {
    throw new Trouble("The server does not answer. Is livedub still running?");
  }
  if (answer.status === 401) throw new Trouble("The server wants a token: open this page as /#token=YOUR-TOKEN.");
  const text = await answer.text();
  const isJson = (answer.headers.get("Content-Type") || "").startsWith("application/json");
  const value = isJson && text ? JSON.parse(text) : text;
  if (!answer.ok) {
    const trouble = new Trouble(value?.error?.message || `The server answered ${answer.status}.`);
    trouble.retry = Number(answer.headers.get("Retry-After")) || 0;
    trouble.status = answer.status;
    throw trouble;
  }
  return { value, place: answer.headers.get("Location") };
}

function fail(error) {
  const names = {
    NotAllowedError: "The browser may not use the camera or microphone. Allow it beside the address, then press Start.",
    NotFoundError: "No camera or microphone was found. Plug one in, or choose another source or sound.",
    NotReadableError: "The camera or microphone is in use by another program.",
  };
  $("error").textContent = names[error.name] || error.message || String(error);
  $("error").hidden = false;
  $("error").scrollIntoView({ block: "nearest" });
  if (!(error instanceof Trouble) && !names[error.name]) console.error(error);
}

function say(text) {
  $("status").textContent = text;
  $("hint").textContent = session || starting ? text : "Choose a source and press Start.";
}

function tell(state, text = STATES[state.state] || state.state) {
  if (asking && state.state === "waiting") text = ASKING;
  const loading = state.loading, bar = $("load-bar");
  bar.hidden = !loading;
  if (loading) [bar.max, bar.value] = [loading.total, loading.done];
  say(loading ? `loading: ${loading.what} (${loading.done} of ${loading.total})` : text);
}
const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

function servers() {
  return (engine?.ice_servers || []).map((s) => ({ urls: s.urls, ...(s.username ? { username: s.username, credential: s.credential } : {}) }));
}

async function gathered(peer) {
  if (peer.iceGatheringState === "complete") return;
  await new Promise((done) => {
    const look = () => peer.iceGatheringState === "complete" && done();
    peer.addEventListener("icegatheringstatechange", look);
    setTimeout(done, 2000);
  });
}

async function connect(peer, path) {
  let wasUp = false;
  peer.addEventListener("connectionstatechange", () => {
    wasUp ||= peer.connectionState === "connected";
    if (peer.connectionState === "failed") noWay(wasUp);
  });
  await peer.setLocalDescription(await peer.createOffer());
  await gathered(peer);
  const { value, place } = await call("POST", path, peer.localDescription.sdp, "application/sdp");
  await peer.setRemoteDescription({ type: "answer", sdp: value });
  setTimeout(() => ["new", "connecting"].includes(peer.connectionState) && noWay(false), PATIENCE_MS);
  return place;
}

async function noWay(wasUp) {
  const { turn } = session ? await call("GET", session).then(({ value }) => value, () => ({})) : {};
  fail(new Trouble(wasUp ? "The connection to the server was lost. Press Stop, then Start."
    : turn === false ? "No way was found between this browser and the server (ICE failed), and its TURN server gave no address: its user, password or address is wrong, or it does not run."
      : "No way was found between this browser and the server (ICE failed). Behind a firewall the server needs --ice-server turn:..."));
}

async function upload(input, what) {
  const file = input.files[0];
  if (!file) throw new Trouble(`Choose a ${what} first.`);
  const most = engine.limits.upload_mb;
  if (file.size > most * 1e6) throw new Trouble(`The ${what} is larger than ${most} MB.`);
  say(`sending the ${what}`);
  return (await call("POST", "/api/uploads", file, "application/octet-stream")).value.upload;
}

async function wanted() {
  const source = { kind: chosen("source") }, voice = { kind: chosen("voice") };
  if (source.kind === "file") source.upload = await upload($("source-file"), "video file");
  if (source.kind === "url") {
    source.url = $("source-url").value.trim();
    if (!source.url) throw new Trouble("Type the network address first.");
  }
  if (source.kind === "camera") source.camera = $("source-camera").value;
  if (voice.kind === "file") voice.upload = await upload($("voice-file"), "sound file");
  if (voice.kind === "url") {
    voice.url = $("voice-url").value.trim();
    if (!voice.url) throw new Trouble("Type the network address of the sound first.");
  }
  return { source, voice, ...faces.wanted((text) => new Trouble(text)), effort: Number($("effort").value),
    ...(engine.emotions.length ? { emotion: $("emotion").value, intensity: Number($("intensity").value) } : {}), consent: $("consent").checked };
}

async function send(camera, microphone) {
  if (!navigator.mediaDevices) throw new Trouble("Camera and microphone need https or localhost: browsers allow them nowhere else.");
  const mine = session;
  asking = true;
  say(ASKING);
  const stream = await navigator.mediaDevices.getUserMedia({
    video: camera && { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25 } },
    audio: microphone && { echoCancellation: true, noiseSuppression: true },
  }).finally(() => { asking = false; });
  if (session !== mine) stream.getTracks().forEach((track) => track.stop());
  still(mine);
  const peer = new RTCPeerConnection({ iceServers: servers() });
  const sender = { peer, stream };
  sending.push(sender);
  for (const track of stream.getTracks()) {
    if (track.kind === "video") track.contentHint = "detail";
    peer.addTrack(track, stream);
    track.addEventListener("ended", () => fail(new Trouble("The camera or microphone was taken away.")));
  }
  sender.place = await connect(peer, `${session}/whip`);
}

function hangUp(end) {
  end?.stream?.getTracks().forEach((track) => track.stop());
  end?.peer.close();
}

// A running session keeps its source: another one begins with Stop.
function hold(running) {
  for (const part of document.querySelectorAll("#source input, #source-camera, #consent")) part.disabled = running;
  $("held").hidden = !running;
}

// What goes on while the page waits: Stop, a failure elsewhere, another session.
function still(mine) { if (!mine || session !== mine) throw new Trouble("stopped"); }

// A session whose speaker is ready runs before its first picture: viewer and camera connect at the same time.
async function running(mine) {
  for (let pause = 50; ; pause = Math.min(2 * pause, 400)) {
    still(mine);
    const { value } = await call("GET", mine);
    still(mine);
    tell(value);
    if (value.state === "failed") throw new Trouble(value.error || "The session failed.");
    if (value.stats) return;
    await new Promise((done) => setTimeout(done, pause));
  }
}

async function watch() {
  const peer = new RTCPeerConnection({ iceServers: servers() });
  watching = { peer };
  const stream = new MediaStream();
  peer.addEventListener("track", ({ track, receiver }) => {
    stream.addTrack(track);
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
  });
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.addTransceiver("audio", { direction: "recvonly" });
  watching.place = await connect(peer, `${session}/whep?view=compare`);
  $("player").srcObject = stream;
  await $("player").play().catch(() => {});
}

// The picture on the canvas: edited up to the slider, as filmed beyond it; gives where, or nothing before the first one.
function paint() {
  const video = $("player"), canvas = $("picture"), width = video.videoWidth / 2, height = video.videoHeight;
  if (!width || !session) return null;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), edge = Math.round((width * $("slider").value) / 100);
  if (edge > 0) context.drawImage(video, 0, 0, edge, height, 0, 0, edge, height);
  if (edge < width) context.drawImage(video, width + edge, 0, width - edge, height, edge, 0, width - edge, height);
  if (edge > 0 && edge < width) { context.fillStyle = "#fff"; context.fillRect(edge - 1, 0, 2, height); }
  return context;
}

function draw() {
  const video = $("player"), canvas = $("picture"), context = paint();
  if (context) {
    if (measures && canvas.width >= 512) timecode.note(context);
    $("hint").hidden = true;
    canvas.dataset.pictures = Number(canvas.dataset.pictures || 0) + 1;
  }
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(draw);
  else requestAnimationFrame(draw);
}

function show(state) {
  graphs.show(state);
  const learnt = faces.show(state.enrolment);
  if (learnt) offerFaces(learnt).catch(fail);
  const learning = state.enrolment && ["looking", "learning"].includes(state.enrolment.phase);
  tell(state, learning ? "live, not edited: a new face is being learnt"
    : state.stats?.overloaded ? "live, but not edited: this computer is too slow at present" : undefined);
}

async function poll() {
  if (!session) return;
  try {
    const { value } = await call("GET", session);
    if (!session) return;
    show(value);
    if (value.state === "failed") throw new Trouble(value.error || "The session failed.");
  } catch (error) {
    fail(error);
    await stop();
    return;
  }
  polling = setTimeout(poll, 500);
}

async function start(event) {
  event.preventDefault();
  $("error").hidden = true;
  $("start").disabled = starting = true;
  say("starting");
  hold(true);
  let mine = null;
  try {
    const body = await wanted();
    session = mine = (await call("POST", "/api/sessions", body)).place;
    own = true;
    $("stop").disabled = false;
    if (matchMedia("(max-width: 760px)").matches) $("stage").scrollIntoView();
    const camera = body.source.kind === "whip", microphone = body.voice.kind === "whip";
    await Promise.all([camera || microphone ? send(camera, microphone) : null, look()]);
  } catch (error) {
    await ended(mine, error);
  }
}

// A session could not go on; one that was stopped, or replaced by another, is no trouble.
async function ended(mine, error) {
  if (mine && session !== mine) return;
  fail(error);
  await stop();
}

async function look() {
  const mine = session;
  await running(mine);
  await watch();
  still(mine);
  graphs.forget();
  for (const id of ["graphs", "compare", "playback", "mark"]) $(id).hidden = false;
  $("picture").dataset.pictures = 0;
  poll();
}

// A session that runs already (begun by the command line or another page) is shown; Stop then only leaves it.
async function join() {
  const { value } = await call("GET", "/api/sessions");
  if (value.sessions.length !== 1) return;
  session = `/api/sessions/${value.sessions[0].id}`;
  own = false;
  $("start").disabled = true;
  hold(true);
  $("stop").disabled = false;
  const mine = session;
  await look().catch((error) => ended(mine, error));
}

async function stop() {
  clearTimeout(polling);
  const ending = own ? session : null;
  session = null;
  for (const end of [watching, ...sending]) hangUp(end);
  [watching, sending, starting] = [null, [], false];
  hold(false);
  $("player").srcObject = null;
  for (const id of ["graphs", "compare", "playback", "mark", "learning"]) $(id).hidden = true;
  $("picture").getContext("2d").clearRect(0, 0, $("picture").width, $("picture").height);
  $("start").disabled = false;
  $("stop").disabled = true;
  $("hint").hidden = false;
  $("load-bar").hidden = true;
  if (ending) await call("DELETE", ending).catch(() => {});
  say("not running");
  prepared().catch(() => {});
}

// Until the server is ready a session takes seconds to begin: say so before anybody presses Start.
async function prepared() {
  clearTimeout(preparing);
  if (session) return;
  const { preparing: step, ready } = (await call("GET", "/api/engine")).value;
  if (session) return;
  say(step ? `not running; the server is ${step.what}${step.total ? ` (${step.done} of ${step.total})` : ""}`
    : ready.length ? "ready" : "not running");
  if (step) preparing = setTimeout(() => prepared().catch(() => {}), 1000);
}

function choices() {
  if (!session) $("error").hidden = true;
  const source = chosen("source"), voice = chosen("voice");
  $("source-file").hidden = source !== "file";
  $("source-url").hidden = source !== "url";
  $("source-camera").hidden = source !== "camera";
  $("voice-file").hidden = voice !== "file";
  $("voice-url").hidden = voice !== "url";
  $("with-source").hidden = source !== "url";
  if (source !== "url" && voice === "source") document.querySelector("input[name=voice][value=presenter]").click();
  faces.choose();
  $("consent-row").hidden = source === "presenter";
}

async function change(body) {
  if (!session) return;
  try {
    await call("PATCH", session, body);
  } catch (error) {
    fail(error);
  }
}

async function offerFaces(chosen) {
  engine = (await call("GET", "/api/engine")).value;
  faces.offer(engine.speakers, engine.qualities);
  if (chosen) $("speaker").value = chosen;
  faces.choose();
}

async function begin() {
  await offerFaces();
  $("own-camera").hidden = engine.cameras.length === 0;
  $("source-camera").replaceChildren(...engine.cameras.map((name) => new Option(name)));
  $("effort").max = engine.max_effort;
  $("effort").value = engine.default_effort;
  $("effort-shown").textContent = engine.default_effort;
  $("emotions").hidden = engine.emotions.length === 0;
  $("emotion").replaceChildren(...engine.emotions.map((name) => new Option(name === "auto" ? "auto: from the voice, experimental" : name, name)));
  await join();
  await prepared();
}

$("settings").addEventListener("submit", start);
$("settings").addEventListener("change", choices);
$("stop").addEventListener("click", stop);
$("slider").addEventListener("input", paint);
$("speaker").addEventListener("change", () => { if (session && !faces.isNew()) change({ speaker: $("speaker").value }); });
$("save-face").addEventListener("click", () => faces.save($("speaker").value, authorised).catch(fail));
$("effort").addEventListener("input", () => { $("effort-shown").textContent = $("effort").value; });
$("effort").addEventListener("change", () => change({ effort: Number($("effort").value) }));
$("emotion").addEventListener("change", () => change({ emotion: $("emotion").value }));
$("intensity").addEventListener("input", () => { $("intensity-shown").textContent = $("intensity").value; });
$("intensity").addEventListener("change", () => change({ intensity: Number($("intensity").value) }));
// Another voice for a running session; a file or an address is taken once it is named.
async function speak() {
  const kind = chosen("voice");
  if (!session || (kind === "file" && !$("voice-file").files[0]) || (kind === "url" && !$("voice-url").value.trim())) return;
  $("error").hidden = true;
  try {
    const voice = { kind };
    if (kind === "file") voice.upload = await upload($("voice-file"), "sound file");
    if (kind === "url") voice.url = $("voice-url").value.trim();
    await call("PATCH", session, { voice });
    for (const end of sending.filter(({ stream }) => !stream.getVideoTracks().length)) hangUp(end);
    sending = sending.filter(({ stream }) => stream.getVideoTracks().length);
    if (kind === "whip" && !sending.some(({ stream }) => stream.getAudioTracks().length)) await send(false, true);
  } catch (error) { if (session) fail(error); }
}
for (const part of document.querySelectorAll("input[name=voice], #voice-file, #voice-url")) part.addEventListener("change", speak);
$("sound").addEventListener("click", () => {
  const player = $("player");
  player.muted = !player.muted;
  $("sound").textContent = player.muted ? "Turn sound on" : "Turn sound off";
  $("sound").setAttribute("aria-pressed", String(!player.muted));
});
addEventListener("pagehide", () => {
  if (session && own) fetch(session, { method: "DELETE", keepalive: true, headers: authorised });
});
choices();
draw();
begin().catch(fail);

import { paint, runs } from "./rle.js";

const $ = (id) => document.getElementById(id);
// Okabe and Ito's colors, which color-blind people tell apart, and then around the circle.
const OKABE = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]];
const ALPHA = 140;

const state = { file: null, id: null, size: null, words: [], answer: null, hidden: new Set(), only: null, boxes: [], asked: 0, key: "" };

function color(at) {
  if (at < OKABE.length) return OKABE[at];
  const hue = (at * 137.508) % 360, part = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (0.55 - 0.4 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (state.key) headers.Authorization = `Bearer ${state.key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not answer. Is it running?");
  }
  if (response.ok) return response.json();
  const told = await response.json().catch(() => ({}));
  if (response.status === 401) $("login").hidden = false;
  const error = new Error(told.detail || `The server answered ${response.status}.`);
  error.status = response.status;
  throw error;
}

function tell(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? error.message : "";
}

async function show(file) {
  if (!file) return;
  Object.assign(state, { file, id: null, answer: null, boxes: [], only: null });
  state.hidden.clear();
  tell(null);
  drawChips();
  try {
    await send();
    await drawPicture();
    $("drop").hidden = true;
    $("view").hidden = $("save").hidden = false;
    await ask();
  } catch (error) {
    tell(error);
  }
}

async function send() {
  const kept = await call("v1/images", { method: "POST", body: state.file, headers: { "Content-Type": "application/octet-stream" } });
  state.id = kept.image_id;
  state.size = [kept.width, kept.height];
}

async function drawPicture() {
  const [width, height] = state.size;
  for (const name of ["picture", "masks"]) Object.assign($(name), { width, height });
  $("view").style.setProperty("--ratio", width / height);
  const context = $("picture").getContext("2d");
  try {
    // The browser turns a picture as the server does.
    const bitmap = await createImageBitmap(state.file);
    context.drawImage(bitmap, 0, 0, width, height);
  } catch {
    context.fillStyle = "#888"; // a format that this browser does not draw: the masks are right all the same
    context.fillRect(0, 0, width, height);
  }
  drawMasks();
}

async function ask() {
  if (!state.id || !state.words.length) return;
  const turn = ++state.asked;
  $("chips").setAttribute("aria-busy", "true");
  tell(null);
  const asked = { classes: state.words, zoom_in: $("zoom").checked, refine: $("refine").checked };
  if (state.boxes.length) asked.regions = state.boxes;
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) };
  try {
    let answer;
    try {
      answer = await call(`v1/images/${state.id}/segment`, options);
    } catch (error) {
      if (error.status !== 404) throw error;
      await send(); // it was kept for a while only
      answer = await call(`v1/images/${state.id}/segment`, options);
    }
    if (turn !== state.asked) return;
    state.answer = answer;
    for (const one of answer.classes) if (one.mask) one.mask.runs = runs(one.mask.counts);
  } catch (error) {
    if (turn === state.asked) tell(error);
  }
  if (turn !== state.asked) return;
  drawChips();
  drawMasks();
  $("chips").setAttribute("aria-busy", "false");
}

function drawMasks(box) {
  const canvas = $("masks"), context = canvas.getContext("2d", { willReadFrequently: true });
  context.clearRect(0, 0, canvas.width, canvas.height);
  const pixels = context.createImageData(canvas.width || 1, canvas.height || 1);
  for (const [at, one] of (state.answer ? state.answer.classes : []).entries()) {
    const shown = state.only === null ? !state.hidden.has(one.name) : state.only === one.name;
    if (shown && one.mask) paint(pixels.data, one.mask.size, one.mask.runs, color(at), ALPHA);
  }
  context.putImageData(pixels, 0, 0);
  context.strokeStyle = "#fff";
  context.lineWidth = Math.max(1, canvas.width / 300);
  for (const [left, top, right, bottom] of box ? [...state.boxes, box] : state.boxes) {
    context.strokeRect(left, top, right - left, bottom - top);
  }
  $("boxes").hidden = !state.boxes.length;
}

function element(kind, name, text) {
  const made = document.createElement(kind);
  made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawChips() {
  const answer = state.answer;
  $("chips").replaceChildren(...(answer ? answer.classes : []).map((one, at) => {
    const chip = element("button", "chip"), swatch = element("span", "swatch"), line = element("li", "");
    chip.type = "button";
    chip.setAttribute("aria-pressed", String(!state.hidden.has(one.name)));
    swatch.style.backgroundColor = `rgb(${color(at).join(",")})`;
    const presence = element("meter", "");
    presence.value = one.presence ?? 0;
    presence.title = one.presence === null ? "presence was not asked" : `presence ${one.presence.toFixed(2)}`;
    const why = one.status === "found" ? `${one.area_percent.toFixed(1)} % of the picture` : `${one.status}${one.reason ? `: ${one.reason}` : ""}`;
    chip.append(swatch, element("span", "name", one.name), presence, element("span", "why", why));
    chip.addEventListener("click", () => toggle(one.name));
    for (const [event, only] of [["pointerenter", one.name], ["focus", one.name], ["pointerleave", null], ["blur", null]]) {
      chip.addEventListener(event, () => { state.only = only; drawMasks(); });
    }
    line.append(chip);
    return line;
  }));
  $("notes").replaceChildren(...(answer ? answer.notes : []).map((note) => element("li", "", `note: ${note}`)));
}

function toggle(name) {
  state.hidden.has(name) ? state.hidden.delete(name) : state.hidden.add(name);
  state.only = null;
  for (const chip of $("chips").querySelectorAll(".chip")) {
    chip.setAttribute("aria-pressed", String(!state.hidden.has(chip.querySelector(".name").textContent)));
  }
  drawMasks();
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function savePng() {
  const [width, height] = state.size, canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.drawImage($("picture"), 0, 0);
  context.drawImage($("masks"), 0, 0);
  canvas.toBlob((blob) => save(blob, "clsclip.png"));
}

function saveCoco() {
  const [width, height] = state.size, found = state.answer ? state.answer.classes : [];
  const document = {
    info: { description: `ClsCLIP masks by the model ${state.answer ? state.answer.model : ""}` },
    images: [{ id: 1, file_name: state.file.name || "picture", width, height }],
    annotations: found.flatMap((one, at) => one.mask ? [{
      id: at + 1, image_id: 1, category_id: at + 1, area: one.area, bbox: one.box, iscrowd: 0,
      segmentation: { size: one.mask.size, counts: one.mask.counts }, ...(one.presence === null ? {} : { score: one.presence }),
    }] : []),
    categories: found.map((one, at) => ({ id: at + 1, name: one.name })),
  };
  save(new Blob([JSON.stringify(document)], { type: "application/json" }), "clsclip.json");
}

function place(event) {
  const canvas = $("masks"), frame = canvas.getBoundingClientRect();
  const cut = (value, most) => Math.max(0, Math.min(most, value));
  return [cut((event.clientX - frame.left) * canvas.width / frame.width, canvas.width),
    cut((event.clientY - frame.top) * canvas.height / frame.height, canvas.height)];
}

let corner = null;
const boxTo = ([x, y]) => [Math.min(corner[0], x), Math.min(corner[1], y), Math.max(corner[0], x), Math.max(corner[1], y)];
$("masks").addEventListener("pointerdown", (event) => { corner = place(event); $("masks").setPointerCapture(event.pointerId); });
$("masks").addEventListener("pointermove", (event) => { if (corner) drawMasks(boxTo(place(event))); });
$("masks").addEventListener("pointerup", (event) => {
  if (!corner) return;
  const box = boxTo(place(event));
  corner = null;
  if (box[2] - box[0] >= 4 && box[3] - box[1] >= 4) {
    state.boxes.push(box);
    ask();
  }
  drawMasks();
});
addEventListener("keydown", (event) => { if (event.key === "Escape" && corner) { corner = null; drawMasks(); } });

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  state.words = [...new Set($("word").value.split(",").map((one) => one.trim()).filter(Boolean))];
  state.hidden.clear();
  location.hash = encodeURIComponent(state.words.join(","));
  if (!state.words.length) tell(new Error("Type a word that you look for."));
  else if (!state.id) tell(new Error("Choose a picture first."));
  else ask();
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  state.key = $("key").value.trim();
  $("login").hidden = true;
  begin();
  state.id ? ask() : show(state.file);
});
for (const name of ["zoom", "refine"]) $(name).addEventListener("change", ask);
$("boxes").addEventListener("click", () => { state.boxes = []; ask(); });
$("png").addEventListener("click", savePng);
$("coco").addEventListener("click", saveCoco);
$("other").addEventListener("click", () => $("file").click());
$("drop").addEventListener("click", () => $("file").click());
$("drop").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") $("file").click(); });
$("file").addEventListener("change", () => { show($("file").files[0]); $("file").value = ""; });
addEventListener("paste", (event) => show([...event.clipboardData.files][0]));
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", () => document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  show(event.dataTransfer.files[0]);
});

async function begin() {
  try {
    const model = await call("v1/model");
    const license = model.license && model.license.weights ? `, weights ${model.license.weights}` : "";
    $("model").textContent = `${model.name} on ${model.backend}${license}. ${model.description || ""}`;
    tell(null);
  } catch (error) {
    tell(error);
  }
}

$("word").value = decodeURIComponent(location.hash.slice(1));
state.words = $("word").value.split(",").map((one) => one.trim()).filter(Boolean);
begin();

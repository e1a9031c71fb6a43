import { decode } from "./picture.js";
import { clean } from "./words.js";

const $ = (id) => document.getElementById(id);
// Okabe and Ito's colors, which color-blind people tell apart.
const COLORS = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]];
const ALPHA = 140;
const color = (at) => COLORS[at % COLORS.length];
const state = { image: null, result: null, hidden: new Set(), turn: 0 };

const segmenter = load();
segmenter.catch(tell);

async function load() {
  const folder = new URLSearchParams(location.search).get("model") ?? "model.clsclip";
  let Segmenter;
  try {
    ({ Segmenter } = await import("./segmenter.js"));
  } catch {
    throw new Error("The two libraries that this page needs are not beside it. Run in its folder: npm install");
  }
  let over = false;
  try {
    const one = await Segmenter.load(folder, (bytes, all) => {
      if (!over) $("model").textContent = `Loading: ${megabytes(bytes)} of ${megabytes(all)} MB`;
    });
    const { name, license, description } = one.manifest;
    $("model").textContent = `${name}, weights ${license?.weights ?? "of unknown license"}. ${description ?? ""}`;
    return one;
  } catch (error) {
    over = true; // other files may still come
    $("model").textContent = "There is no model.";
    throw error;
  }
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

function tell(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? error.message : "";
}

async function show(file) {
  if (!file) return;
  tell(null);
  try {
    const pixels = await decode(file), { width, height } = pixels;
    for (const name of ["picture", "masks"]) Object.assign($(name), { width, height });
    $("view").style.setProperty("--ratio", width / height);
    $("picture").getContext("2d").putImageData(pixels, 0, 0);
    $("drop").hidden = true;
    $("view").hidden = $("other").hidden = false;
    Object.assign(state, { image: null, result: null });
    draw();
    state.image = await (await segmenter).setImage(pixels);
    if ($("word").value.trim()) await ask();
  } catch (error) {
    tell(error);
  }
}

async function ask() {
  const turn = ++state.turn;
  tell(null);
  try {
    if (!state.image) throw new Error("Choose a picture first.");
    const words = clean($("word").value), { image } = state;
    $("chips").setAttribute("aria-busy", "true");
    await new Promise(requestAnimationFrame); // the page is drawn before the model takes the thread
    const result = await (await segmenter).find(image, words);
    if (turn !== state.turn || image !== state.image) return;
    Object.assign(state, { result, hidden: new Set() });
    draw();
  } catch (error) {
    if (turn === state.turn) tell(error);
  }
  if (turn === state.turn) $("chips").setAttribute("aria-busy", "false");
}

function draw() {
  const { classes = [], notes = [] } = state.result ?? {};
  drawMasks();
  $("chips").replaceChildren(...classes.map(chip));
  $("notes").replaceChildren(...notes.map((note) => element("li", "", `note: ${note}`)));
}

async function drawMasks() {
  const canvas = $("masks"), context = canvas.getContext("2d"), { image, result, hidden } = state;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!result) return;
  const pixels = context.createImageData(canvas.width, canvas.height), one = await segmenter;
  for (const [at, { name, area, logits }] of result.classes.entries()) {
    if (!area || hidden.has(name)) continue;
    one.mask(image, logits).forEach((inside, pixel) => { if (inside) pixels.data.set([...color(at), ALPHA], 4 * pixel); });
  }
  if (result === state.result) context.putImageData(pixels, 0, 0);
}

function element(kind, name, text) {
  const made = document.createElement(kind);
  made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function chip({ name, status, reason, presence, area }, at) {
  const button = element("button", "chip"), swatch = element("span", "swatch"), line = element("li", "");
  const share = (100 * area) / (state.image.width * state.image.height);
  const told = status === "found" ? `${share.toFixed(1)} % of the picture` : [status, reason].filter(Boolean).join(": ");
  button.type = "button";
  button.setAttribute("aria-pressed", "true");
  swatch.style.backgroundColor = `rgb(${color(at).join(",")})`;
  button.append(swatch, element("span", "name", name), element("span", "why", presence === null ? told : `presence ${presence.toFixed(2)}, ${told}`));
  button.addEventListener("click", () => {
    const shown = !state.hidden.delete(name);
    if (shown) state.hidden.add(name);
    button.setAttribute("aria-pressed", String(!shown));
    drawMasks();
  });
  line.append(button);
  return line;
}

$("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
for (const name of ["drop", "other"]) $(name).addEventListener("click", () => $("file").click());
$("drop").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") $("file").click(); });
$("file").addEventListener("change", () => { show($("file").files[0]); $("file").value = ""; });
addEventListener("paste", (event) => show(event.clipboardData.files[0]));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => { event.preventDefault(); show(event.dataTransfer.files[0]); });

// A bundle's files by HTTP: each is used only if it has the length and the SHA-256 that the manifest states.

const MANIFEST_BYTES = 1 << 20;
const FILE_BYTES = 1 << 30; // a browser tab has no room for more
const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

export class BundleError extends Error {}

/** Open the bundle in a folder beside the page: {manifest, file(name), weightsOf(bytes)}; `told(bytes, all)` as files come. */
export async function openBundle(folder, told = () => {}) {
  if (!globalThis.crypto?.subtle) {
    throw new BundleError("This page checks what it downloads, and browsers allow that on https and on localhost only. Open it by one of them.");
  }
  const manifest = understood(await read(`${folder}/manifest.json`, MANIFEST_BYTES), folder);
  const kept = new Map();
  let arrived = 0;

  async function file(name) {
    if (!kept.has(name)) kept.set(name, verified(name));
    return kept.get(name);
  }

  async function verified(name) {
    const stated = Object.hasOwn(manifest.files, name) ? manifest.files[name] : null;
    if (!stated) throw new BundleError(`The bundle has no ${name}. Export it again.`);
    if (!PLAIN.test(name)) throw new BundleError(`The bundle names a file '${name}', which this page does not fetch.`);
    if (!(stated.bytes <= FILE_BYTES)) throw new BundleError(`${name} has ${stated.bytes} bytes, which is too large for a browser. Export a smaller model.`);
    const bytes = await read(`${folder}/${name}`, stated.bytes, (count) => told((arrived += count), all()));
    const digest = hex(await crypto.subtle.digest("SHA-256", bytes));
    if (bytes.length !== stated.bytes || digest !== String(stated.sha256).toLowerCase()) {
      throw new BundleError(`${name} is damaged: it is not the file that the manifest describes. Copy the bundle again.`);
    }
    return bytes;
  }

  const all = () => [...kept.keys()].reduce((sum, name) => sum + manifest.files[name].bytes, 0);

  /** The files of weights that a graph points to, as ONNX Runtime takes them. */
  async function weightsOf(graph) {
    const text = new TextDecoder("latin1").decode(graph);
    const names = Object.keys(manifest.files).filter((name) => !/\.(onnx|json|safetensors)$/.test(name) && text.includes(name));
    return Promise.all(names.map(async (path) => ({ path, data: await file(path) })));
  }

  return { manifest, file, weightsOf, forget: () => kept.clear() };
}

function understood(bytes, folder) {
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new BundleError(`${folder}/manifest.json is no JSON. Copy the bundle again.`);
  }
  const { schema_version: version, requires = [], files, image, text, mask, presence } = manifest ?? {};
  if (version !== 2) throw new BundleError(`The bundle has the format ${version}, and this page reads format 2. Run: clsclip-bundle upgrade`);
  if (requires.length) throw new BundleError(`The bundle needs ${requires.join(", ")}, which this page does not know. Use a newer page.`);
  if (!files || !image || !text || !mask) throw new BundleError("The manifest is not complete. Export the bundle again.");
  if (presence && presence.from !== "filter") throw new BundleError("The model tells presence after its masks, which this page cannot use. Serve it with clsclip-serve.");
  if (text.templates.length !== 1) throw new BundleError("The model has several text templates, which this page cannot use. Serve it with clsclip-serve.");
  return manifest;
}

async function read(address, most, arrived = () => {}) {
  let response;
  try {
    response = await fetch(address);
  } catch {
    throw new BundleError(`${address} cannot be fetched. Is the file server running?`);
  }
  if (!response.ok) throw new BundleError(`${address} cannot be fetched: the server answered ${response.status}. Is the model beside the page?`);
  const bytes = new Uint8Array(most), reader = response.body.getReader();
  let at = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return bytes.subarray(0, at);
    if (at + value.length > most) {
      await reader.cancel();
      throw new BundleError(`${address} is longer than the ${most} bytes that it may have. Copy the bundle again.`);
    }
    bytes.set(value, at);
    at += value.length;
    arrived(value.length);
  }
}

const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

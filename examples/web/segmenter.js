// The model, in the browser alone: a bundle's graphs by ONNX Runtime's WebAssembly. Words stay free.

import { InferenceSession, Tensor, env } from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";
import { Tokenizer } from "./node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs";
import { openBundle } from "./bundle.js";
import { farFrom } from "./domain.js";
import { logit, lowerFaint, maskOf } from "./masks.js";
import { pixelValues } from "./resize.js";
import { tokenIds } from "./words.js";

const WORDS_PER_CALL = 64;
const PAIRS_PER_CALL = 16;

// Threads need headers that plain file servers do not send.
env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;

export class Segmenter {
  /** Load and verify a bundle; `told(bytes, all)` while it comes. */
  static async load(folder, told) {
    const one = new Segmenter(), bundle = await openBundle(folder, told);
    one.manifest = bundle.manifest;
    const names = ["image_encoder", "text_encoder", "trunk", ...(one.manifest.presence ? ["presence"] : [])];
    const graphs = await Promise.all(names.map((name) => bundle.file(`${name}.onnx`)));
    const weights = await Promise.all(graphs.map(bundle.weightsOf));
    one.tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(await bundle.file("tokenizer.json"))), {});
    one.graphs = {};
    for (const [at, name] of names.entries()) {
      one.graphs[name] = await InferenceSession.create(graphs[at], { externalData: weights[at], executionProviders: ["wasm"] });
    }
    bundle.forget(); // the sessions have copies
    return one;
  }

  /** Encode a picture once, for any words. */
  async setImage(image) {
    const { size } = this.manifest.image, values = new Tensor("float32", pixelValues(image, this.manifest.image), [1, 3, size, size]);
    return { width: image.width, height: image.height, features: await this.graphs.image_encoder.run({ pixel_values: values }) };
  }

  /** Look for words: what `clsclip-infer --json` says of each, with `logits` for those that were segmented. */
  async find(image, words) {
    const { text, notes } = await this.encode(words), { presence, domain } = this.manifest;
    const far = farFrom(domain, image.features);
    if (far) notes.push(far);
    const scores = presence ? await this.presence(image, text, words) : null;
    const chosen = words.map((_, at) => at).filter((at) => !scores || scores[at] >= Math.fround(presence.threshold));
    const logits = await this.trunk(image, text, chosen, words);
    for (const one of logits.values()) lowerFaint(one, presence?.least_confidence ?? 0);
    const classes = words.map((name, at) => ({ name, presence: scores ? scores[at] : null, logits: logits.get(at) ?? null }));
    for (const one of classes) {
      one.area = one.logits ? this.mask(image, one.logits).reduce((sum, pixel) => sum + pixel, 0) : 0;
      one.status = one.area ? "found" : one.logits ? "empty" : "absent";
      one.reason = one.logits ? null : `presence below ${presence.threshold.toFixed(2)}`;
    }
    return { classes, notes };
  }

  /** The pixels of a mask, 0 or 1, row by row. */
  mask(image, logits) {
    const { height, width, threshold } = this.manifest.mask;
    return maskOf(logits, [height, width], image, logit(threshold));
  }

  async encode(words) {
    const { text } = this.manifest, parts = [], notes = [];
    for (let start = 0; start < words.length; start += WORDS_PER_CALL) {
      const some = words.slice(start, start + WORDS_PER_CALL), { ids, cut } = tokenIds(this.tokenizer, some, text);
      notes.push(...cut.map((word) => `'${word}' is longer than the model's ${text.context_length} tokens: its end was cut off.`));
      parts.push(await this.graphs.text_encoder.run({ token_ids: new Tensor("int64", ids, [some.length, text.context_length]) }));
    }
    const features = Object.fromEntries(text.features.map(({ name, shape }) => {
      const data = new Float32Array(words.length * shape.reduce((one, other) => one * other, 1));
      parts.reduce((at, part) => { data.set(part[name].data, at); return at + part[name].data.length; }, 0);
      return [name, new Tensor("float32", data, [words.length, ...shape])];
    }));
    return { text: features, notes };
  }

  async presence(image, text, words) {
    const found = await run(this.graphs.presence, { ...image.features, ...text }), scores = found.presence.data;
    checkFinite(scores, words, "presence");
    const probability = this.manifest.presence.form === "logit" ? scores.map((one) => 0.5 * (1 + Math.tanh(0.5 * one))) : scores;
    return probability.map((one) => Math.min(1, Math.max(0, one)));
  }

  /** Logits of the chosen words, by their position. */
  async trunk(image, text, chosen, words) {
    const found = new Map();
    for (let start = 0; start < chosen.length; start += PAIRS_PER_CALL) {
      const some = chosen.slice(start, start + PAIRS_PER_CALL), indices = BigInt64Array.from(some, BigInt);
      const feeds = { ...image.features, ...text, crop_index: new Tensor("int64", new BigInt64Array(some.length), [some.length]), class_index: new Tensor("int64", indices, [some.length]) };
      const { mask_logits: { data } } = await run(this.graphs.trunk, feeds), each = data.length / some.length;
      checkFinite(data, some.map((at) => words[at]), "mask");
      some.forEach((at, one) => found.set(at, data.slice(one * each, (one + 1) * each)));
    }
    return found;
  }
}

/** Run a graph on those of `feeds` that it takes. */
function run(graph, feeds) {
  return graph.run(Object.fromEntries(graph.inputNames.map((name) => [name, feeds[name]])));
}

function checkFinite(values, words, what) {
  const at = values.findIndex((one) => !Number.isFinite(one));
  if (at >= 0) {
    throw new Error(`The model gave no number as the ${what} of '${words[Math.floor(at / (values.length / words.length))]}': its weights are damaged. Copy the bundle again.`);
  }
}

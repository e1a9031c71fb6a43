// From low-resolution logits to the pixels of a mask: logits are upsampled (bilinear), and then compared.

export const logit = (probability) => Math.log(probability) - Math.log1p(-probability);

/** For every output along an axis the input before it, the next one, and the weights of both. */
function grid(inputs, outputs) {
  return Array.from({ length: outputs }, (_, at) => {
    const center = Math.min(Math.max((at + 0.5) * (inputs / outputs) - 0.5, 0), inputs - 1), low = Math.floor(center);
    return [low, Math.min(low + 1, inputs - 1), Math.fround(1 - (center - low)), Math.fround(center - low)];
  });
}

// Rounded as the runtime in Python rounds.
const mixed = (one, other, left, right) => Math.fround(other * right + Math.fround(left * one));

/**
 * Where logits, upsampled, exceed a logit.
 * @param {Float32Array} logits rows x columns
 * @returns {Uint8Array} width x height of 0 and 1, row by row
 */
export function maskOf(logits, [rows, columns], { width, height }, least) {
  const mask = new Uint8Array(width * height), above = Math.fround(least);
  if (!logits.some((one) => one > above)) return mask;
  const across = grid(columns, width), line = new Float32Array(columns);
  grid(rows, height).forEach(([low, high, left, right], y) => {
    for (let x = 0; x < columns; x++) line[x] = mixed(logits[low * columns + x], logits[high * columns + x], left, right);
    if (!line.some((one) => one > above)) return;
    for (let x = 0; x < width; x++) {
      const [before, after, one, other] = across[x];
      if (mixed(line[before], line[after], one, other) > above) mask[y * width + x] = 1;
    }
  });
  return mask;
}

/**
 * Lower the logits of a faint mask, in place, by what its confidence is short of `least`. The confidence is the mean of its
 * positive logits, each weighted by itself. Most masks of absent words are faint.
 */
export function lowerFaint(logits, least) {
  let sum = 0, squares = 0;
  for (const one of logits) {
    const positive = Math.max(one, 0);
    sum += positive;
    squares += positive * positive;
  }
  const confidence = squares / logits.length / (sum / logits.length + 1e-3);
  const missing = Math.fround(Math.max(least - confidence, 0));
  if (missing > 0) logits.forEach((one, at) => { logits[at] = one - 4 * missing; });
}

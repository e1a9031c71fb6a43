// Pillow's antialiased resize of 8-bit pixels, to the last bit: weights in 22-bit fixed point.
// A canvas resizes in another way, which costs up to seven points of IoU.

const BITS = 22;
const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => cubic(Math.abs(x))],
  lanczos: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** For every output the first input that it takes, and the weights of this and the following ones. */
function weights(inputs, outputs, [support, filter]) {
  const scale = inputs / outputs, wide = Math.max(1, scale), reach = support * wide;
  return Array.from({ length: outputs }, (_, at) => {
    const center = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5)), end = Math.min(inputs, Math.trunc(center + reach + 0.5));
    const own = Array.from({ length: end - first }, (_, one) => filter((one + first - center + 0.5) * (1 / wide)));
    const sum = own.reduce((one, other) => one + other, 0);
    return [first, own.map((one) => { const fixed = (one / sum) * 2 ** BITS; return Math.trunc(fixed + (fixed < 0 ? -0.5 : 0.5)); })];
  });
}

/** One pass: `lines` of pixels of four bytes, whose steps in bytes from line to line and along them are given. */
function pass(data, lines, table, [lineIn, stepIn], [lineOut, stepOut]) {
  const made = new Uint8ClampedArray(4 * lines * table.length), half = 2 ** (BITS - 1);
  for (let line = 0; line < lines; line++) {
    table.forEach(([first, own], to) => {
      for (let channel = 0; channel < 4; channel++) {
        let sum = half, from = line * lineIn + first * stepIn + channel;
        for (let at = 0; at < own.length; at++, from += stepIn) sum += data[from] * own[at];
        made[line * lineOut + to * stepOut + channel] = sum >> BITS;
      }
    });
  }
  return made;
}

/** Resize pixels of four bytes to size x size, as `Image.resize` of Pillow 13 does. */
export function resize({ width, height, data }, size, interpolation) {
  const filter = FILTERS[interpolation];
  if (!filter) throw new Error(`The model wants pictures resized by '${interpolation}', which this page cannot do. Serve it with clsclip-serve.`);
  const columns = weights(width, size, filter), rows = weights(height, size, filter);
  const across = (pixels, high) => pass(pixels, high, columns, [4 * width, 4], [4 * size, 4]);
  const down = (pixels, wide) => pass(pixels, wide, rows, [4, 4 * wide], [4, 4 * wide]);
  // The order decides the last bits. Pillow takes the cheaper one.
  const downFirst = height > size && height - size > 2 * (width - size);
  return downFirst ? across(down(data, width), size) : down(across(data, height), size);
}

/** The encoder's input, 3 x size x size: resized, scaled to 0..1, normalised in single precision as numpy does. */
export function pixelValues(image, { size, mean, std, interpolation }) {
  const small = resize(image, size, interpolation), values = new Float32Array(3 * size * size);
  for (let channel = 0; channel < 3; channel++) {
    const from = Math.fround(mean[channel]), by = Math.fround(std[channel]);
    for (let at = 0; at < size * size; at++) {
      values[channel * size * size + at] = Math.fround(Math.fround(small[4 * at + channel] / 255) - from) / by;
    }
  }
  return values;
}

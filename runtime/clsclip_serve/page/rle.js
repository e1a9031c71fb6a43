// COCO's compressed runs: columns first, numbers of five bits a character, from the third on as differences.
export function runs(text) {
  const counts = [];
  for (let at = 0; at < text.length;) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const byte = text.charCodeAt(at++) - 48;
      value |= (byte & 31) << shift;
      more = (byte & 32) !== 0;
      shift += 5;
      if (!more && byte & 16 && shift < 32) value |= -1 << shift;
    }
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

// Paint a mask into RGBA pixels of its size, over what is there.
export function paint(pixels, [height, width], counts, [red, green, blue], alpha) {
  let at = 0, inside = false;
  for (const count of counts) {
    if (inside) {
      for (let end = at + count, one = at; one < end; one++) {
        const to = 4 * ((one % height) * width + Math.floor(one / height));
        pixels[to] = red;
        pixels[to + 1] = green;
        pixels[to + 2] = blue;
        pixels[to + 3] = alpha;
      }
    }
    at += count;
    inside = !inside;
  }
}

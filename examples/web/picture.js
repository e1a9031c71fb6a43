// A picture as the pixels that Python would see: upright, colors as they are stored, transparency on white.

const SIDE = 16_384; // of a canvas
const PIXELS = 100_000_000;

const surface = (width, height) => new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });

/** Decode a file: {width, height, data} with four bytes a pixel. */
export async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${file.name || "This"} is not a picture that this browser can read. Save it as PNG or JPEG.`);
  }
  const { width, height } = bitmap;
  if (Math.max(width, height) > SIDE || width * height > PIXELS) {
    throw new Error(`The picture has ${width}x${height} pixels, and a browser's canvas has no room for them. Make it smaller.`);
  }
  checkReading();
  const context = surface(width, height);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** Some browsers change the pixels that a page reads, so that it cannot recognise them: masks would be wrong. */
function checkReading() {
  const side = 16, context = surface(side, side), drawn = context.createImageData(side, side);
  drawn.data.forEach((_, at) => { drawn.data[at] = at % 4 === 3 ? 255 : (at * 7) % 256; });
  context.putImageData(drawn, 0, 0);
  const read = context.getImageData(0, 0, side, side).data;
  if (drawn.data.some((one, at) => one !== read[at])) {
    throw new Error("This browser changes the pixels that a page reads, so masks would be wrong. Allow this page to read canvases (fingerprinting protection).");
  }
}

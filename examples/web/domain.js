// Whether a picture is far from what a model knows: a line through its own features (`domain` of the manifest).

/** What is said of a picture that is far; null of one that is not, or where the bundle has no test. */
export function farFrom(domain, features) {
  const weights = domain?.test?.weights;
  if (!weights || !Object.keys(weights).every((name) => features[name])) return null;
  const sum = Object.entries(weights).reduce((all, [name, line]) => all + dot(pooled(features[name]), line), domain.test.bias);
  if (!(sum > 0)) return null;
  return `this image is unlike what the model knows (${domain.name}: ${domain.description}). Its masks mean little here; use a model that was trained on such images`;
}

/** Mean and standard deviation of a feature over its places: 2 d numbers of a tensor (1, ..., d). */
function pooled({ data, dims }) {
  const width = dims.at(-1), places = data.length / width, mean = new Float64Array(width), spread = new Float64Array(width);
  data.forEach((one, at) => { mean[at % width] += one / places; });
  data.forEach((one, at) => { spread[at % width] += (one - mean[at % width]) ** 2 / places; });
  return [...mean, ...spread.map(Math.sqrt)];
}

function dot(some, others) {
  return some.reduce((sum, one, at) => sum + one * others[at], 0);
}

// fmlib.models.MLP: linear layers with SiLU between, on x with t appended.
export function makeMLP({ sizes, weights }) {
  const bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0));
  const numbers = new Float32Array(bytes.buffer);
  const layers = [];
  let offset = 0;
  for (let l = 1; l < sizes.length; l++) {
    const [fanIn, fanOut] = [sizes[l - 1], sizes[l]];
    const W = numbers.subarray(offset, (offset += fanIn * fanOut));
    layers.push({ fanIn, fanOut, W, b: numbers.subarray(offset, (offset += fanOut)) });
  }
  const d = sizes.at(-1);
  const here = new Float64Array(Math.max(...sizes)), there = new Float64Array(here.length);

  return function velocity(x, t) {
    const u = new Float64Array(x.length);
    for (let i = 0; i < x.length / d; i++) {
      let [input, output] = [here, there];
      for (let j = 0; j < d; j++) input[j] = x[i * d + j];
      input[d] = t;
      layers.forEach(({ fanIn, fanOut, W, b }, l) => {
        for (let o = 0; o < fanOut; o++) {
          let sum = b[o];
          for (let j = 0, w = o * fanIn; j < fanIn; j++, w++) sum += W[w] * input[j];
          output[o] = l < layers.length - 1 ? sum / (1 + Math.exp(-sum)) : sum;
        }
        [input, output] = [output, input];
      });
      for (let j = 0; j < d; j++) u[i * d + j] = input[j];
    }
    return u;
  };
}

// Standard normal numbers from a seed: mulberry32, then Box and Muller 1958.
export function makeNoise(seed) {
  const uniform = () => {
    seed = (seed + 1831565813) | 0;
    let z = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
  return (n) =>
    Float64Array.from({ length: n }, () =>
      Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

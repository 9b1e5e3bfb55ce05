import { each } from "./field.js";

// The density of N(0, 1), and what lies above x: by the series of Marsaglia 2004, "Evaluating the
// Normal Distribution", and in the tail by Laplace's continued fraction.
const phi = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
function above(x) {
  if (x < -3) return 1 - above(-x);
  let value = x; // of the fraction x + 1/(x + 2/(x + 3/(x + ...)))
  if (x > 3) {
    for (let k = 60; k > 0; k--) value = x + k / value;
    return phi(x) / value;
  }
  for (let k = 3, term = x; value + term !== value; k += 2) value += term *= (x * x) / k;
  return 0.5 - value * phi(x);
}
export function quantile(p, z) { // the z with above(z) = p, by Newton's method for the logarithm
  for (let i = 0; i < 50; i++) {
    const q = above(z), step = (q / phi(z)) * Math.log(q / p);
    z += Math.max(-1, Math.min(1, step));
    if (Math.abs(step) < 1e-12) break;
  }
  return z;
}

// The optimal transport map from N(0, 1) in one dimension keeps the order: as much of the target
// lies above x_1 as of the noise above x_0.  A table of pairs (x_0, x_1), both rising, far into the
// tails, where a coarse solver may go.
export function makeTransport({ means, stds, weights }, size = 20000) {
  const m = means.flat(), s = each(stds, m.length), w = each(weights, m.length);
  const middle = m.reduce((sum, m_k, k) => sum + w[k] * m_k, 0);
  const reach = Math.max(...m.map((m_k, k) => Math.abs(m_k - middle) + 37 * s[k]));
  const half = (sign) => { // outwards from the middle, each time with what lies further out
    const x_0 = [], x_1 = [];
    for (let i = 0; i <= size / 2; i++) {
      const y = middle + (sign * reach * 2 * i) / size;
      const p = m.reduce((sum, m_k, k) => sum + w[k] * above((sign * (y - m_k)) / s[k]), 0);
      x_0.push(sign * quantile(p, i ? sign * x_0[i - 1] : 0));
      x_1.push(y);
    }
    return { x_0, x_1 };
  };
  const [lower, upper] = [half(-1), half(1)];
  const join = (name) => [...lower[name].slice(1).reverse(), ...upper[name]];
  return { x_0: join("x_0"), x_1: join("x_1") };
}

// The i and the fraction at which the rising f(i) passes `value`.
export function invert(f, n, value) {
  let low = 0, high = n - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (f(middle) > value) high = middle;
    else low = middle;
  }
  return [low, (value - f(low)) / (f(high) - f(low))];
}

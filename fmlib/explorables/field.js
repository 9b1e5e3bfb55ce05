// The mathematics of fmlib that the explorables need, in double precision.
// n points of dimension d lie one after the other in one Float64Array, x = [x_0, y_0, x_1, y_1, ...],
// and a velocity is a function (x, t) -> Float64Array of the same length, as in Python.

// fmlib.paths: alpha, sigma and their derivatives.
const PATHS = {
  CondOT: () => ({
    alpha: (t) => t, sigma: (t) => 1 - t, dAlpha: () => 1, dSigma: () => -1,
  }),
  VP: ({ beta_min, beta_max }) => {
    const T = (t) => (1 - t) * beta_min + 0.5 * (1 - t) ** 2 * (beta_max - beta_min);
    const dT = (t) => -(beta_min + (1 - t) * (beta_max - beta_min));
    const alpha = (t) => Math.exp(-0.5 * T(t));
    const sigma = (t) => Math.sqrt(-Math.expm1(-T(t)));
    return {
      alpha, sigma,
      dAlpha: (t) => -0.5 * dT(t) * alpha(t),
      dSigma: (t) => (0.5 * dT(t) * Math.exp(-T(t))) / sigma(t),
    };
  },
  Cosine: () => {
    const c = Math.PI / 2;
    return {
      alpha: (t) => Math.sin(c * t), sigma: (t) => Math.sin(c * (1 - t)),
      dAlpha: (t) => c * Math.sin(c * (1 - t)), dSigma: (t) => -c * Math.sin(c * t),
    };
  },
};

const makePath = (spec) => PATHS[spec.name](spec);

const each = (value, K) => (value.length ? Float64Array.from(value) : new Float64Array(K).fill(value));

// fmlib.exact: p_t = sum_k w_k N(alpha_t m_k, v_k I), v_k = (alpha_t s_k)^2 + sigma_t^2, and
// u_t(x) = d_alpha_t E[x_1 | x] + d_sigma_t E[x_0 | x], for x_0 ~ N(0, I).  stds and weights: a number
// for all, or one for each mean.
function makeMixture({ means, stds, weights }, path) {
  const K = means.length, d = means[0].length;
  const m = Float64Array.from(means.flat()), s = each(stds, K);
  const logWeight = each(weights, K).map(Math.log);
  const variance = new Float64Array(K), logNorm = new Float64Array(K), joint = new Float64Array(K);

  function at(t) { // everything that does not depend on x
    const a = path.alpha(t), sigma = path.sigma(t);
    for (let k = 0; k < K; k++) {
      variance[k] = (a * s[k]) ** 2 + sigma ** 2;
      logNorm[k] = logWeight[k] - 0.5 * d * Math.log(2 * Math.PI * variance[k]);
    }
    return [a, sigma];
  }

  function posterior(x, i, a) { // the weights w_k(x_i) into `joint`; returns log p_t(x_i)
    let top = -Infinity, sum = 0;
    for (let k = 0; k < K; k++) {
      let square = 0;
      for (let j = 0; j < d; j++) square += (x[i * d + j] - a * m[k * d + j]) ** 2;
      joint[k] = logNorm[k] - (0.5 * square) / variance[k];
      if (joint[k] > top) top = joint[k];
    }
    for (let k = 0; k < K; k++) sum += joint[k] = Math.exp(joint[k] - top);
    for (let k = 0; k < K; k++) joint[k] /= sum;
    return top + Math.log(sum);
  }

  return {
    logProb(x, t) {
      const [a] = at(t);
      return Float64Array.from({ length: x.length / d }, (_, i) => posterior(x, i, a));
    },
    weightsAt(x, t) { // of a single point
      posterior(x, 0, at(t)[0]);
      return Float64Array.from(joint);
    },
    velocity(x, t) {
      const [a, sigma] = at(t), dAlpha = path.dAlpha(t), dSigma = path.dSigma(t);
      const u = new Float64Array(x.length);
      for (let i = 0; i < x.length / d; i++) {
        posterior(x, i, a);
        for (let j = 0; j < d; j++) {
          let mean = 0, score = 0;
          for (let k = 0; k < K; k++) {
            const pull = (joint[k] * (x[i * d + j] - a * m[k * d + j])) / variance[k];
            score -= pull;
            mean += joint[k] * m[k * d + j] + a * s[k] ** 2 * pull;
          }
          u[i * d + j] = dAlpha * mean - dSigma * sigma * score;
        }
      }
      return u;
    },
  };
}

// fmlib.models.MLP: linear layers with SiLU between, on x with t appended.
function makeMLP({ sizes, weights }) {
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

// fmlib.solvers: one step, and how many velocities it asks for.
const plus = (x, h, u) => x.map((value, i) => value + h * u[i]);
const SOLVERS = {
  euler: { cost: 1, step: (v, x, t, h) => plus(x, h, v(x, t)) },
  midpoint: { cost: 2, step: (v, x, t, h) => plus(x, h, v(plus(x, h / 2, v(x, t)), t + h / 2)) },
  heun: {
    cost: 2,
    step(v, x, t, h) {
      const u = v(x, t);
      return plus(plus(x, h / 2, u), h / 2, v(plus(x, h, u), t + h));
    },
  },
  rk4: {
    cost: 4,
    step(v, x, t, h) {
      const k1 = v(x, t), k2 = v(plus(x, h / 2, k1), t + h / 2);
      const k3 = v(plus(x, h / 2, k2), t + h / 2), k4 = v(plus(x, h, k3), t + h);
      return x.map((value, i) => value + (h / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
    },
  },
};

function solve(velocity, x, n, method, end = 1) {
  const { step, cost } = SOLVERS[method], h = end / n, states = [x];
  for (let i = 0; i < n; i++) states.push(step(velocity, states[i], i * h, h));
  return { x: states, nfe: n * cost, end: states[n] };
}

// Where the points are at a part, 0 to 1, of their way: on the straight line between two states.
function along(states, part) {
  const steps = states.length - 1, at = steps * part, i = Math.min(steps - 1, Math.floor(at));
  return states[i].map((x, j) => x + (at - i) * (states[i + 1][j] - x));
}

// The root mean square distance between two clouds of dimension d.
function rms(x, y, d = 2) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] - y[i]) ** 2;
  return Math.sqrt((sum * d) / x.length);
}

// Standard normal numbers from a seed: mulberry32, then Box and Muller 1958.
function makeNoise(seed) {
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

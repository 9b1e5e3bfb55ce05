// The exact fields of fmlib.paths and fmlib.exact, in double precision, like all in this folder.
// n points of dimension d lie one after the other in one Float64Array, x = [x_0, y_0, x_1, ...],
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

export const makePath = (spec) => PATHS[spec.name](spec);

export const each = (value, K) =>
  value.length ? Float64Array.from(value) : new Float64Array(K).fill(value);

// fmlib.exact: p_t = sum_k w_k N(alpha_t m_k, v_k I), v_k = (alpha_t s_k)^2 + sigma_t^2, and
// u_t(x) = d_alpha_t E[x_1 | x] + d_sigma_t E[x_0 | x], for x_0 ~ N(0, I).  stds and weights: a
// number for all, or one for each mean.
export function makeMixture({ means, stds, weights }, path) {
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

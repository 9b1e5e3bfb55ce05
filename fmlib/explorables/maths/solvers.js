// fmlib.solvers: one step, and how many velocities it asks for.
const plus = (x, h, u) => x.map((value, i) => value + h * u[i]);
export const SOLVERS = {
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

export function solve(velocity, x, n, method, end = 1) {
  const { step, cost } = SOLVERS[method], h = end / n, states = [x];
  for (let i = 0; i < n; i++) states.push(step(velocity, states[i], i * h, h));
  return { x: states, nfe: n * cost, end: states[n] };
}

// Where the first `size` numbers are at a part, 0 to 1, of their way: on the straight line between
// two states.
export function along(states, part, size = states[0].length) {
  const steps = states.length - 1, at = steps * part, i = Math.min(steps - 1, Math.floor(at));
  return states[i].subarray(0, size).map((x, j) => x + (at - i) * (states[i + 1][j] - x));
}

// The root mean square distance between two clouds of dimension d.
export function rms(x, y, d = 2) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] - y[i]) ** 2;
  return Math.sqrt((sum * d) / x.length);
}

// What cloud.js shows: particles on their way, their mean speed, and the entropy of p_t.
import { makeMixture, makePath } from "./field.js";
import { makeNoise } from "./noise.js";
import { along, rms, solve } from "./solvers.js";

const STEPS = 50;

export function makeModel(data) {
  const x_0 = makeNoise(1)(2 * data.n_particles);
  const flows = {}; // of each path that was looked at: the field, and the flow in it

  function flow(path) {
    if (!flows[path]) {
      const field = makeMixture(data.target, makePath(data.paths[path]));
      flows[path] = { field, states: solve(field.velocity, x_0, STEPS, "heun", data.t_end).x };
    }
    return flows[path];
  }

  function numbers({ path, t, n = data.n_particles }) { // of the first n particles
    const { field, states } = flow(path), x = along(states, t / data.t_end, 2 * n);
    const u = field.velocity(x, t), logProb = field.logProb(x, t);
    return {
      x_0: Array.from(x_0), x: Array.from(x),
      speed: rms(u, new Float64Array(u.length)),
      entropy: -logProb.reduce((sum, value) => sum + value, 0) / logProb.length,
    };
  }
  return { field: (path) => flow(path).field, numbers };
}

// What draw.js shows: particles on their way to points, each a Gaussian of one width.
import { makeMixture, makePath } from "./field.js";
import { makeNoise } from "./noise.js";
import { SOLVERS } from "./solvers.js";

export function makeModel(data) {
  const path = makePath(data.path), n = data.n_steps;

  // A run that has not begun: n_particles of noise, and where they go.
  function start({ points, std, seed }) {
    const velocity = points.length
      ? makeMixture({ means: points, stds: std, weights: 1 / points.length }, path).velocity
      : null;
    return { points, std, velocity, states: [makeNoise(seed)(2 * data.n_particles)] };
  }

  // Take the steps that are due at time t, for the first `some` particles; the others leave.
  function advance(run, t, some = data.n_particles) {
    if (2 * some < run.states[0].length) run.states = run.states.map((x) => x.slice(0, 2 * some));
    for (let i = run.states.length - 1; i < Math.round(t * n); i++) {
      run.states.push(SOLVERS.heun.step(run.velocity, run.states[i], i / n, 1 / n));
    }
    return run;
  }

  function share({ points, std, states }) { // of the particles within two widths of a point
    const x = states.at(-1), reach = (2 * std) ** 2;
    let near = 0;
    for (let i = 0; i < x.length; i += 2) {
      near += points.some((p) => (x[i] - p[0]) ** 2 + (x[i + 1] - p[1]) ** 2 < reach);
    }
    return (2 * near) / x.length;
  }

  const describe = (run) => ({
    points: run.points, std: run.std, t: (run.states.length - 1) / n, share: share(run),
    x_0: Array.from(run.states[0]), end: Array.from(run.states.at(-1)),
  });
  return { start, advance, describe, numbers: (choice) => describe(advance(start(choice), 1)) };
}

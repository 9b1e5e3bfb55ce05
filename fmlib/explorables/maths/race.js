// What race.js shows: path x coupling in one dimension, their straightness and their errors.
// The data are those of data.target, `scale` times as wide and moved by `shift`.
import { each, makeMixture, makePath } from "./field.js";
import { rms, SOLVERS, solve } from "./solvers.js";
import { invert, makeTransport, quantile } from "./transport.js";

const FINE = 200; // steps of the exact trajectories

// One entry of the race: its velocity, and its exact trajectories from x_0 at the times given.
function makeEntry(target, path, coupling, transport) {
  if (coupling === "independent") return { velocity: makeMixture(target, path).velocity };
  const { x_0, x_1 } = transport;
  const between = (list, [i, part]) => list[i] + part * (list[i + 1] - list[i]);
  const find = (value, t) => { // the walker that is at this place at time t
    const a = path.alpha(t), s = path.sigma(t);
    return invert((i) => a * x_1[i] + s * x_0[i], x_0.length, value);
  };
  const velocity = (x, t) => {
    const da = path.dAlpha(t), ds = path.dSigma(t);
    return x.map((value) => {
      const at = find(value, t);
      return da * between(x_1, at) + ds * between(x_0, at);
    });
  };
  const exact = (starts, t) => starts.map((value) => {
    const at = find(value, 0);
    return path.alpha(t) * between(x_1, at) + path.sigma(t) * between(x_0, at);
  });
  return { velocity, exact };
}


// fmlib.metrics.straightness, absolute.
function straightness(states) {
  const chord = states.at(-1).map((x, i) => x - states[0][i]), steps = states.length - 1;
  let sum = 0;
  for (let s = 0; s < steps; s++) {
    const lag = (d, i) => d - steps * (states[s + 1][i] - states[s][i]);
    sum += chord.reduce((all, d, i) => all + lag(d, i) ** 2, 0);
  }
  return sum / steps / chord.length;
}

export function makeModel(data) {
  const n = data.n_particles;
  const x_0 = Float64Array.from({ length: n }, (_, i) => -quantile((i + 0.5) / n, 0));
  let entries = {}, ready = ""; // all entries with their exact trajectories, for one target

  function entry(target, transport, name, how) {
    const made = makeEntry(target, makePath(data.paths[name]), how, transport);
    const end = data.t_end[name];
    const states = made.exact
      ? Array.from({ length: FINE + 1 }, (_, i) => made.exact(x_0, (end * i) / FINE))
      : solve(made.velocity, x_0, FINE, "rk4", end).x;
    const S = straightness(states);
    return { name: `${name}, ${how}`, velocity: made.velocity, end, states, S };
  }

  function prepare(scale, shift) {
    if (ready === `${scale} ${shift}`) return;
    const { means, stds, weights } = data.target;
    const target = {
      means: means.map(([m]) => [m * scale + shift]), weights,
      stds: each(stds, means.length).map((s) => s * scale),
    };
    const transport = makeTransport(target);
    entries = Object.keys(data.paths).flatMap((name) =>
      ["independent", "OT"].map((how) => entry(target, transport, name, how)));
    ready = `${scale} ${shift}`;
  }

  function rows({ scale, shift, nfe, method }) {
    prepare(scale, shift);
    const steps = Math.max(1, Math.floor(nfe / SOLVERS[method].cost));
    return entries.map(({ velocity, end, ...row }) => {
      const run = solve(velocity, x_0, steps, method, end).x;
      return { ...row, run, error: rms(run.at(-1), row.states.at(-1), 1) };
    });
  }

  const numbers = (choice) => ({
    rows: rows(choice).map(({ name, S, error }) => ({ name, S, error })), x_0: Array.from(x_0),
  });
  return { n, rows, numbers };
}

// What network.js shows: samples of a solver in a field, guided or not, and their error.
import { makeField } from "./anyfield.js";
import { makeNoise } from "./noise.js";
import { rms, solve } from "./solvers.js";

export function makeModel(data) {
  const make = (spec) => makeField(spec, data.path);
  const labels = Object.keys(data.fields);
  const fields = Object.fromEntries(labels.map((name) => [name, make(data.fields[name])]));
  const every = data.unconditional && make(data.unconditional);

  function velocity({ label, guidance }) { // u + w (u of the label - u), for w = 1 the label's own
    if (!every) return fields[label];
    return (x, t) => {
      const own = fields[label](x, t), all = every(x, t);
      return all.map((u, i) => u + guidance * (own[i] - u));
    };
  }

  let known = "", reference; // as good as exact ends of the first 100

  function exact(choice, x_0) {
    const asked = JSON.stringify([choice, x_0.length]);
    if (asked !== known) reference = solve(velocity(choice), x_0, 50, "heun").end;
    known = asked;
    return reference;
  }

  function sample({ steps, method, seed, n = data.n_particles, ...choice }) {
    const x_0 = makeNoise(seed)(2 * n), run = solve(velocity(choice), x_0, steps, method);
    const fine = exact({ ...choice, seed }, x_0.subarray(0, 200));
    return { ...run, error: rms(run.end.subarray(0, 200), fine) };
  }

  function numbers(choice) {
    const { nfe, error, x, end } = sample(choice);
    return { nfe, error, x_0: Array.from(x[0]), end: Array.from(end) };
  }
  return { labels, guided: Boolean(every), velocity, sample, numbers };
}

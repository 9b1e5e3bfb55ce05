// What steps.js shows: a few steps of a solver beside as good as exact ones.
import { makeField } from "./anyfield.js";
import { rms, solve } from "./solvers.js";

export function makeModel(data, { fields }) {
  const x_0 = Float64Array.from(data.x_0.flat());
  const field = (name) => makeField(fields[name]);

  function compare({ field: name, steps, method }) {
    const run = solve(field(name), x_0, steps, method);
    const fine = solve(field(name), x_0, 400, "rk4");
    return { states: run.x, exact: fine.x, nfe: run.nfe, error: rms(run.end, fine.end) };
  }

  function numbers(choice) {
    const { nfe, error } = compare(choice);
    return { nfe, error };
  }
  return { x_0, field, compare, numbers };
}

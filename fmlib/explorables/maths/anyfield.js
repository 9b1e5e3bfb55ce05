// A velocity from what Python says about it: a network, a mixture on a path, or a matrix.
import { makeMixture, makePath } from "./field.js";
import { makeMLP } from "./mlp.js";

export function makeField(spec, path) {
  if (spec.sizes) return makeMLP(spec);
  if (spec.matrix) return makeLinear(spec);
  return makeMixture(spec.mixture ?? spec, makePath(spec.path ?? path)).velocity;
}

// u(x) = exp(-|x|^2 / (2 width^2)) A x in the plane; without a width, A x.
function makeLinear({ matrix: [[a, b], [c, d]], width = Infinity }) {
  return (x) => {
    const u = new Float64Array(x.length);
    for (let i = 0; i < x.length; i += 2) {
      const [p, q] = [x[i], x[i + 1]], part = Math.exp((-0.5 * (p * p + q * q)) / width ** 2);
      u[i] = part * (a * p + b * q);
      u[i + 1] = part * (c * p + d * q);
    }
    return u;
  };
}

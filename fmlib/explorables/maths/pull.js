// What pull.js shows: where the data draw a point, and with which weights.
import { makeMixture, makePath } from "./field.js";

export function makeModel(data) {
  const n = data.points.length;
  const field = makeMixture({ means: data.points, stds: 0, weights: 1 / n }, makePath(data.path));

  function numbers({ x, t }) {
    const weights = Array.from(field.weightsAt(x, t));
    const velocity = Array.from(field.velocity(Float64Array.from(x), t));
    const mean = [0, 1].map((j) => weights.reduce((sum, w, i) => sum + w * data.points[i][j], 0));
    return { x, weights, velocity, mean, carriers: 1 / weights.reduce((sum, w) => sum + w * w, 0) };
  }
  return { numbers };
}

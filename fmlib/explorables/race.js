// Path x coupling x data scale, in one dimension, where all is known: who is straighter, who wins?
// data: target (means (K, 1), stds, weights at scale 1), paths {name: spec}, t_end {name: time},
//       n_particles, scale, nfe, method, path, coupling

// The density of N(0, 1), and what lies above x: by the series of Marsaglia 2004, "Evaluating the
// Normal Distribution", and in the tail by Laplace's continued fraction.
const phi = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
function above(x) {
  if (x < -3) return 1 - above(-x);
  let value = x; // of the fraction x + 1/(x + 2/(x + 3/(x + ...)))
  if (x > 3) {
    for (let k = 60; k > 0; k--) value = x + k / value;
    return phi(x) / value;
  }
  for (let k = 3, term = x; value + term !== value; k += 2) value += term *= (x * x) / k;
  return 0.5 - value * phi(x);
}
function quantile(p, z) { // the z with above(z) = p, by Newton's method for the logarithm
  for (let i = 0; i < 50; i++) {
    const q = above(z), step = (q / phi(z)) * Math.log(q / p);
    z += Math.max(-1, Math.min(1, step));
    if (Math.abs(step) < 1e-12) break;
  }
  return z;
}

// The optimal transport map from N(0, 1) in one dimension keeps the order: as much of the target
// lies above x_1 as of the noise above x_0.  A table of pairs (x_0, x_1), both rising, far into the
// tails, where a coarse solver may go.
function makeTransport({ means, stds, weights }, size = 20000) {
  const m = means.flat(), s = each(stds, m.length), w = each(weights, m.length);
  const middle = m.reduce((sum, m_k, k) => sum + w[k] * m_k, 0);
  const reach = Math.max(...m.map((m_k, k) => Math.abs(m_k - middle) + 37 * s[k]));
  const half = (sign) => { // outwards from the middle, each time with what lies further out
    const x_0 = [], x_1 = [];
    for (let i = 0; i <= size / 2; i++) {
      const y = middle + (sign * reach * 2 * i) / size;
      const p = m.reduce((sum, m_k, k) => sum + w[k] * above((sign * (y - m_k)) / s[k]), 0);
      x_0.push(sign * quantile(p, i ? sign * x_0[i - 1] : 0));
      x_1.push(y);
    }
    return { x_0, x_1 };
  };
  const [lower, upper] = [half(-1), half(1)];
  const join = (name) => [...lower[name].slice(1).reverse(), ...upper[name]];
  return { x_0: join("x_0"), x_1: join("x_1") };
}

// The i and the fraction at which the rising f(i) passes `value`.
function invert(f, n, value) {
  let low = 0, high = n - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (f(middle) > value) high = middle;
    else low = middle;
  }
  return [low, (value - f(low)) / (f(high) - f(low))];
}

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

function setup(root, data) {
  const hint = "Framed: the choice that is drawn. Bold: the smallest error.";
  const box = [0, 2, -0.75, 0.75]; // time from left to right, the place from bottom to top
  const stage = new Stage(root, { alt: data.alt, box, hint });
  const scale = stage.slider({
    name: "scale", label: "Data scale", min: 0.25, max: 4, step: 0.25, value: data.scale, format: fixed,
  });
  const nfe = stage.slider({
    name: "nfe", label: "Evaluations", min: 2, max: 32, step: 2, value: data.nfe,
  });
  const options = (name, list) => ({ name, options: list, value: data[name] });
  const methods = Object.keys(SOLVERS).filter((m) => m !== "rk4");
  const method = stage.menu({ label: "Solver", ...options("method", methods) });
  const path = stage.menu({ label: "Path", ...options("path", Object.keys(data.paths)) });
  const coupling = stage.menu({ label: "Coupling", ...options("coupling", ["independent", "OT"]) });
  const table = element("table");
  stage.output.before(table);

  const n = data.n_particles, FINE = 200;
  const x_0 = Float64Array.from({ length: n }, (_, i) => -quantile((i + 0.5) / n, 0));
  let fine = {}, scaled = 0; // all entries with their exact trajectories, for one scale

  function entries() {
    if (scaled === scale.value) return fine;
    scaled = scale.value;
    const { means, stds, weights } = data.target;
    const target = {
      means: means.map(([m]) => [m * scaled]), weights,
      stds: each(stds, means.length).map((s) => s * scaled),
    };
    const transport = makeTransport(target);
    fine = {};
    for (const [name, spec] of Object.entries(data.paths)) {
      for (const how of ["independent", "OT"]) {
        const entry = makeEntry(target, makePath(spec), how, transport), end = data.t_end[name];
        const times = Array.from({ length: FINE + 1 }, (_, i) => (end * i) / FINE);
        const states = entry.exact
          ? times.map((t) => entry.exact(x_0, t))
          : solve(entry.velocity, x_0, FINE, "rk4", end).x;
        fine[`${name}, ${how}`] = { ...entry, end, states, S: straightness(states) };
      }
    }
    return fine;
  }

  function straightness(states) { // fmlib.metrics.straightness, relative
    const chord = states.at(-1).map((x, i) => x - states[0][i]), steps = states.length - 1;
    let sum = 0;
    for (let s = 0; s < steps; s++) {
      sum += chord.reduce(
        (all, d, i) => all + (d - steps * (states[s + 1][i] - states[s][i])) ** 2, 0);
    }
    return sum / steps / chord.reduce((all, d) => all + d * d, 0);
  }

  const few = (entry) => {
    const steps = Math.max(1, Math.floor(nfe.value / SOLVERS[method.value].cost));
    return solve(entry.velocity, x_0, steps, method.value, entry.end).x;
  };
  const rows = () =>
    Object.entries(entries()).map(([name, { S, states, ...entry }]) => {
      const run = few(entry);
      return { name, S, states, run, error: rms(run.at(-1), states.at(-1), 1) };
    });

  stage.paint = () => {
    const chosen = `${path.value}, ${coupling.value}`, found = rows();
    const shown = found.find((row) => row.name === chosen);
    const reach = 0.7 / Math.max(2.7, 1.6 * scale.value);
    const draw = (states, i, color, width, dash) => {
      const way = states.flatMap((x, s) => [(2 * s) / (states.length - 1), reach * x[i]]);
      stage.line(way, color, width, 1, dash);
      return way;
    };
    for (let i = 4; i < n; i += Math.floor(n / 20)) {
      draw(shown.states, i, stage.colors.paths[path.value], 1.4);
      const way = draw(shown.run, i, stage.colors.ink, 1, [4, 3]);
      stage.dots(way, stage.colors.ink, 1.6);
    }
    const best = Math.min(...found.map((row) => row.error));
    const head = ["flow", "S", "error"].map((text) => element("th", { scope: "col" }, text));
    table.replaceChildren(
      element("caption", {}, "Straightness S, relative, and rms error"),
      element("tr", {}, ...head),
      ...found.map((row) => {
        const look = [row.error === best && "fm-best", row === shown && "fm-shown"];
        return element("tr", { class: look.filter(Boolean).join(" ") },
          element("th", { scope: "row" }, row.name),
          ...[row.S, row.error].map((value) => element("td", {}, short(value))));
      }));
    const straightest = found.reduce((a, b) => (b.S < a.S ? b : a));
    const winner = found.find((row) => row.error === best);
    stage.say(
      `Straightest: ${straightest.name}.\n` +
      `Least error at ${nfe.value} evaluations: ${winner.name}.`);
  };
  return { stage, numbers: () => ({ rows: rows().map(({ name, S, error }) => ({ name, S, error })), x_0: Array.from(x_0) }) };
}

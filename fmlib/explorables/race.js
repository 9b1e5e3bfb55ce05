// Path x coupling x data, in one dimension, where all is known: who is straighter, who wins?
// data: target (means (K, 1), stds, weights at scale 1), paths {name: spec}, t_end {name: time},
//       n_particles, scale, shift, nfe, method, path, coupling
import { makeModel } from "./maths/race.js";
import { SOLVERS } from "./maths/solvers.js";
import { Stage } from "./stage.js";
import { element, fixed, short } from "./style.js";

export function setup(root, data, { colors }) {
  const hint = "Framed: the choice that is drawn. Bold: the smallest error.";
  const box = [0, 2, -0.75, 0.75]; // time from left to right, the place from bottom to top
  const stage = new Stage(root, { alt: data.alt, box, hint, colors });
  const scale = stage.slider({
    name: "scale", label: "Data scale", min: 0.25, max: 4, step: 0.25, value: data.scale,
    format: fixed,
  });
  const shift = stage.slider({
    name: "shift", label: "Data moved by", min: 0, max: 4, step: 0.25, value: data.shift,
    format: fixed,
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

  const model = makeModel(data), { n } = model;
  const choice = () => ({
    scale: scale.value, shift: shift.value, nfe: nfe.value, method: method.value,
  });

  stage.paint = () => {
    const chosen = `${path.value}, ${coupling.value}`, found = model.rows(choice());
    const shown = found.find((row) => row.name === chosen);
    const top = Math.max(2.7, shift.value + 1.7 * scale.value);
    const bottom = Math.min(-2.7, shift.value - 1.7 * scale.value);
    const height = (x) => (1.4 * (x - bottom)) / (top - bottom) - 0.7;
    const draw = (states, i, color, width, dash) => {
      const way = states.flatMap((x, s) => [(2 * s) / (states.length - 1), height(x[i])]);
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
      element("caption", {}, "Straightness S, and rms error"),
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
  return { stage, model, choice, numbers: () => model.numbers(choice()) };
}

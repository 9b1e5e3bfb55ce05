// How explorables look around the plot, and how they write numbers.

export const STYLE = `
.fm-explorable { display: flex; flex-wrap: wrap; gap: 0.75rem 1.5rem; align-items: flex-start;
  max-width: 46rem; margin: 0.5rem 0 1rem; font-size: 0.95rem; line-height: 1.4; }
.fm-plot { position: relative; flex: 1 1 18rem; min-width: 0; max-width: 28rem; }
.fm-plot canvas { display: block; width: 100%; border-radius: 4px;
  box-shadow: 0 0 0 1px color-mix(in srgb, currentColor 45%, transparent); }
.fm-side { flex: 1 1 13rem; min-width: 0; display: grid; gap: 0.6rem; }
.fm-side label { display: grid; grid-template-columns: 1fr auto; gap: 0 0.75rem; }
.fm-side input, .fm-side select { grid-column: 1 / -1; width: 100%; margin: 0.15rem 0; }
.fm-side input { accent-color: currentColor; min-height: 1.6rem; }
.fm-side select, .fm-side button { font: inherit; color: inherit; padding: 0.3rem 0.7rem;
  background: transparent; border: 1px solid currentColor; border-radius: 4px; min-height: 2rem; }
.fm-side select option { color: FieldText; background: Field; }
.fm-side button { cursor: pointer; }
.fm-buttons { display: flex; flex-wrap: wrap; gap: 0.5rem; }
.fm-side output, .fm-side label span:last-of-type { font-variant-numeric: tabular-nums; }
.fm-side output { min-height: 2.8em; white-space: pre-line; }
.fm-side p { margin: 0; opacity: 0.85; }
.fm-side table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.fm-side th, .fm-side td { padding: 0.1rem 0.4rem; text-align: right; font-weight: normal; }
.fm-side th:first-child { text-align: left; }
.fm-side tr.fm-best * { font-weight: bold; }
.fm-side tr.fm-shown { outline: 1px solid currentColor; }
.fm-handle { position: absolute; width: 30px; height: 30px; margin: -15px 0 0 -15px; padding: 0;
  border: 2px solid currentColor; border-radius: 50%; background: transparent; color: inherit;
  cursor: grab; touch-action: none; }
.fm-explorable :focus-visible { outline: 3px solid var(--fm-focus); outline-offset: 2px; }
`;

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const fixed = (value, digits = 2) => value.toFixed(digits).replace("-", "\u2212");
export const short = (value) => {
  if (value < 1e-9) return "0";
  return value < 1e-3 ? value.toExponential(1).replace("-", "\u2212") : value.toPrecision(2);
};

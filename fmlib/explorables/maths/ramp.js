// fmlib.plotting.time_color: the source's colour at 0, the target's at 1, the ramp in between.
export function timeColor({ source, target, time }, t) {
  if (t <= 0) return source;
  if (t >= 1) return target;
  const at = t * (time.length - 1), i = Math.floor(at);
  const channel = (color, k) => parseInt(color.slice(2 * k + 1, 2 * k + 3), 16);
  const mixed = [0, 1, 2].map((k) => {
    const low = channel(time[i], k);
    return Math.round(low + (at - i) * (channel(time[i + 1], k) - low));
  });
  return `rgb(${mixed})`;
}

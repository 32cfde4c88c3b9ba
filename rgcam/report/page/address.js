// The view in the URL's fragment, so that a link restores it.

function writeAddress(data, state) {
  const named = {
    t: state.cell.input,
    s: state.cell.output,
    steps: state.aggregate || "one",
    method: data.method,
    class: data.classes[data.targets[state.choice.k]],
    rather: state.choice.j < 0 ? "" : data.classes[data.targets[state.choice.j]],
    kind: state.choice.signed ? "signed" : "positive",
    scale: state.scale,
    rows: state.rows ? 1 : 0,
    colours: state.colours,
    heat: Math.round(100 * state.opacity),
    baseline: state.baseline ? 1 : 0,
    follow: state.follow ? 1 : 0,
  };
  const fragment = `#${new URLSearchParams(named)}`;
  if (fragment === location.hash) return;
  try {
    history.replaceState(null, "", fragment);
  } catch {
    // A sandboxed frame has no address of its own.
  }
}

function readAddress(data, state) {
  const named = new URLSearchParams(location.hash.slice(1));
  const whole = (name, size, unless) => {
    const value = Number(named.get(name) ?? NaN);
    return Number.isInteger(value) && value >= 0 && value < size ? value : unless;
  };
  const m = data.methods.findIndex(({ method }) => method && method === named.get("method"));
  if (m >= 0 && m !== data.m) {
    useMethod(data, m);
    state.choice.signed = data.opening.signed;
  }
  const classAt = (name) => data.targets.findIndex((t) => data.classes[t] === named.get(name));
  state.cell = {
    input: whole("t", data.steps, state.cell.input),
    output: whole("s", data.outs, state.cell.output),
  };
  if (classAt("class") >= 0) state.choice.k = classAt("class");
  if (data.signed) {
    state.choice.j = classAt("rather") === state.choice.k ? -1 : classAt("rather");
    if (named.has("kind")) state.choice.signed = named.get("kind") === "signed";
  }
  const steps = named.get("steps") ?? (named.has("s") ? "one" : "");
  if (steps === "one") state.aggregate = "";
  if (data.outs > 1 && Object.hasOwn(data.aggregations, steps) && canAggregate(data, state.choice, steps)) state.aggregate = steps;
  if (["clip", "row"].includes(named.get("scale"))) state.scale = named.get("scale");
  if (Object.hasOwn(data.sequential, named.get("colours") ?? "")) state.colours = named.get("colours");
  state.opacity = whole("heat", 101, Math.round(100 * state.opacity)) / 100;
  state.rows = whole("rows", 2, Number(state.rows)) === 1;
  state.baseline = whole("baseline", 2, Number(state.baseline)) === 1;
  state.follow = whole("follow", 2, Number(state.follow)) === 1;
}

// The explanation: base64 arrays, heat maps restored from quantised factors, matrices.
// `choice` says of what maps are shown: {k: class, j: class it is compared with or -1,
// signed: both signs, or the positive part alone}. `out` says which output step: its
// number, or "mean" or "max" over all steps.

function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

function arrayOf(packed) {
  const kinds = { f4: Float32Array, i1: Int8Array, u1: Uint8Array };
  return new kinds[packed.type](bytesOf(packed.data).buffer);
}

function readData() {
  const text = document.getElementById("data").textContent;
  const data = JSON.parse(text, (_, value) =>
    value && value.type && typeof value.data === "string" ? arrayOf(value) : value,
  );
  data.steps = data.times.length;
  data.outs = data.timesOut.length;
  data.cells = data.height * data.width;
  data.cache = new Map(); // matrices, aggregated maps and peaks, by choice
  useMethod(data, 0);
  return data;
}

// Show the maps of another method: its arrays, checks and words take the others' places.
function useMethod(data, m) {
  data.m = m;
  Object.assign(data, data.methods[m]);
  data.pairs = data.codes.length / data.targets.length / data.rank;
  data.cache.clear();
}

// Whether maps of a choice are the ones that the record shows, figures and text too.
function isOpening(data, choice, out) {
  const { k, j, signed } = choice;
  return k === 0 && j < 0 && signed === data.opening.signed && out === data.opening.output;
}

// Whether the scripts can aggregate maps of a choice: an aggregation of the user's own is
// stored for the maps that the page opens on alone.
function canAggregate(data, choice, how) {
  return how === "mean" || how === "max" || isOpening(data, choice, how);
}

// The faithfulness check of exactly these maps, or that there was none.
function verdictOf(data, choice, out) {
  const { k, j, signed } = choice;
  const ofClass = k === 0 && j < 0;
  const check = data.checks.find((c) => ofClass && c.step === out && c.signed === signed);
  return check ?? data.notChecked;
}

function keyOf({ k, j, signed }, ...more) {
  return [k, j, signed, ...more].join(" ");
}

// The value that `make` computed for this key before, or computes now.
function cached(data, key, make) {
  if (!data.cache.has(key)) data.cache.set(key, make());
  return data.cache.get(key);
}

// Where a pair lies among the stored ones; -1: not seen yet, a zero by structure.
function pairOf(data, out, input) {
  if (!data.causal) return out * data.steps + input;
  return input > out ? -1 : (out * (out + 1)) / 2 + input;
}

function addMap(data, k, sign, pair, input, into) {
  const { rank, cells, basis } = data;
  const place = k * data.pairs + pair;
  const scale = sign * data.scales[place];
  const start = place * rank;
  if (!basis) {
    for (let i = 0; i < cells; i++) into[i] += data.codes[start + i] * scale;
    return;
  }
  for (let r = 0, b = input * rank * cells; r < rank; r++) {
    const weight = data.codes[start + r] * scale;
    for (let i = 0; i < cells; i++, b++) into[i] += weight * basis[b];
  }
}

// Whether frame `input` had been seen at `out`.
function isSeen(data, out, input) {
  return typeof out === "string" || pairOf(data, out, input) >= 0;
}

// The heat map of frame `input` for the score at `out`, (h w) in logits.
function mapOf(data, choice, out, input, into) {
  if (typeof out === "string") {
    const start = input * data.cells;
    into.set(aggregated(data, choice, out).maps.subarray(start, start + data.cells));
    return into;
  }
  into.fill(0);
  const pair = pairOf(data, out, input);
  if (pair < 0) return into;
  addMap(data, choice.k, 1, pair, input, into);
  if (choice.j >= 0) addMap(data, choice.j, -1, pair, input, into);
  if (!choice.signed) for (let i = 0; i < into.length; i++) into[i] = Math.max(into[i], 0);
  return into;
}

function largest(values) {
  let peak = 0;
  for (const value of values) peak = Math.max(peak, Math.abs(value));
  return peak;
}

// {maps: (in h w), row: (in)}: the mean or maximum over the output steps that see each
// frame. Those that the record shows are stored exactly.
function aggregated(data, choice, how) {
  if (isOpening(data, choice, how)) return data.opening;
  return cached(data, keyOf(choice, how), () => aggregate(data, choice, how));
}

function aggregate(data, choice, how) {
  const maps = new Float32Array(data.steps * data.cells);
  const map = new Float32Array(data.cells);
  for (let input = 0; input < data.steps; input++) {
    const sum = maps.subarray(input * data.cells, (input + 1) * data.cells);
    if (how === "max") sum.fill(-Infinity);
    const first = data.causal ? input : 0; // the first step that sees the frame
    for (let out = first; out < data.outs; out++) {
      mapOf(data, choice, out, input, map);
      for (let i = 0; i < data.cells; i++)
        sum[i] = how === "max" ? Math.max(sum[i], map[i]) : sum[i] + map[i] / (data.outs - first);
    }
  }
  const massOf = (_, t) => maps.subarray(t * data.cells, (t + 1) * data.cells).reduce((a, b) => a + b, 0);
  return { maps, row: Float32Array.from({ length: data.steps }, massOf) };
}

// {values: (out in), NaN where not seen yet; peak: of them; cellPeak: of the maps}.
function matrixOf(data, choice) {
  return cached(data, keyOf(choice), () => computeMatrix(data, choice));
}

function computeMatrix(data, choice) {
  const values = new Float32Array(data.outs * data.steps).fill(NaN);
  const stored = choice.signed ? data.signedMatrix : data.positiveMatrix;
  const own = choice.k * data.pairs;
  const other = choice.j * data.pairs;
  const map = new Float32Array(data.cells);
  let cellPeak = choice.j < 0 ? data.peaks[choice.k][choice.signed ? 1 : 0] : 0;
  let peak = 0;
  for (let out = 0; out < data.outs; out++) {
    for (let input = 0; input < data.steps; input++) {
      const pair = pairOf(data, out, input);
      if (pair < 0) continue;
      let value = stored[own + pair];
      if (choice.j >= 0) {
        mapOf(data, choice, out, input, map);
        cellPeak = Math.max(cellPeak, largest(map));
        value = choice.signed ? value - stored[other + pair] : map.reduce((a, b) => a + b);
      }
      values[out * data.steps + input] = value;
      peak = Math.max(peak, Math.abs(value));
    }
  }
  return { values, peak, cellPeak };
}

// The largest value of all maps of one output step.
function rowCellPeak(data, choice, out) {
  return cached(data, keyOf(choice, out, "peak"), () => {
    const map = new Float32Array(data.cells);
    let peak = 0;
    for (let input = 0; input < data.steps; input++)
      peak = Math.max(peak, largest(mapOf(data, choice, out, input, map)));
    return peak;
  });
}

// The largest value of one row of the matrix.
function rowPeak(data, choice, out) {
  let peak = 0;
  for (const value of rowOf(data, choice, out)) if (Math.abs(value) > peak) peak = Math.abs(value);
  return peak;
}

// The importance of every frame for `out`, NaN where not seen yet.
function rowOf(data, choice, out) {
  if (typeof out === "string") return aggregated(data, choice, out).row;
  return matrixOf(data, choice).values.subarray(out * data.steps, (out + 1) * data.steps);
}

function columnOf(data, choice, input) {
  const { values } = matrixOf(data, choice);
  return Float32Array.from({ length: data.outs }, (_, out) => values[out * data.steps + input]);
}

// Mean size of the importance at each lag t' - t, of the pairs that have that lag.
function lagOf(data, choice) {
  const { values } = matrixOf(data, choice);
  const sums = new Float64Array(data.steps);
  for (let out = 0; out < data.outs; out++)
    for (let input = 0; input <= out; input++)
      sums[out - input] += Math.abs(values[out * data.steps + input]);
  return sums.map((sum, lag) => sum / (data.outs - lag));
}

function scoreOf(data, choice, out) {
  const score = (k) => data.scores[out * data.classes.length + data.targets[k]];
  return choice.j < 0 ? score(choice.k) : score(choice.k) - score(choice.j);
}

// The frames with the largest importance, some time apart, by the rule of summary.json:
// the share of a frame is its part of the sum of all positive values of the row.
function topMoments(data, choice, out, count) {
  const row = rowOf(data, choice, out);
  const order = Array.from(row.keys()).filter((t) => row[t] > 0);
  order.sort((a, b) => row[b] - row[a] || a - b);
  const mass = order.reduce((sum, t) => sum + row[t], 0);
  const chosen = [];
  for (const t of order) {
    if (chosen.length === count) break;
    const apart = chosen.every((c) => Math.abs(data.times[t] - data.times[c.frame]) >= data.apart);
    if (apart) chosen.push({ frame: t, importance: row[t], share: row[t] / mass });
  }
  return chosen;
}

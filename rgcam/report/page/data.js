// The explanation: base64 arrays, heat maps restored from quantised factors, matrices.
// `choice` is what is looked at: {k: class, j: class it is compared with or -1, signed}.

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
  data.pairs = data.codes.length / data.targets.length / data.rank;
  data.found = new Map(); // matrices and peaks that were computed, by choice
  return data;
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

// The heat map of frame `input` for the score at `out`, (h w) in logits.
function mapOf(data, choice, out, input, into) {
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

// {values: (out in), NaN where not seen yet; peak: of them; cellPeak: of the maps}.
function matrixOf(data, choice) {
  const key = `${choice.k} ${choice.j} ${choice.signed}`;
  if (!data.found.has(key)) data.found.set(key, computeMatrix(data, choice));
  return data.found.get(key);
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
  return { values, peak, cellPeak, rows: new Map() };
}

// The largest value of all maps of one decision.
function rowCellPeak(data, choice, out) {
  const { rows } = matrixOf(data, choice);
  if (!rows.has(out)) {
    const map = new Float32Array(data.cells);
    let peak = 0;
    for (let input = 0; input < data.steps; input++)
      peak = Math.max(peak, largest(mapOf(data, choice, out, input, map)));
    rows.set(out, peak);
  }
  return rows.get(out);
}

// The largest value of one row of the matrix.
function rowPeak(data, choice, out) {
  let peak = 0;
  for (const value of rowOf(data, choice, out)) if (Math.abs(value) > peak) peak = Math.abs(value);
  return peak;
}

function rowOf(data, choice, out) {
  return matrixOf(data, choice).values.subarray(out * data.steps, (out + 1) * data.steps);
}

function columnOf(data, choice, input) {
  const { values } = matrixOf(data, choice);
  return Float32Array.from({ length: data.outs }, (_, out) => values[out * data.steps + input]);
}

// Mean importance at each distance t' - t; only of pairs that were seen.
function lagOf(data, choice) {
  const { values } = matrixOf(data, choice);
  const sums = new Float64Array(data.steps);
  for (let out = 0; out < data.outs; out++)
    for (let input = 0; input <= out; input++) sums[out - input] += values[out * data.steps + input];
  return sums.map((sum, lag) => sum / (data.outs - lag));
}

function scoreOf(data, choice, out) {
  const score = (k) => data.scores[out * data.classes.length + data.targets[k]];
  return choice.j < 0 ? score(choice.k) : score(choice.k) - score(choice.j);
}

// The frames that counted most for a decision, some time apart, as in summary.json.
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

// The matrix with the score curves above it, on one time axis, and around it the row and
// the column of the chosen cell as bars. Two layers: what changes with the choice, and
// what changes with the cell.

const CURVES = 92; // CSS pixels of the score curves
const ROW = 46; // of the chosen row's bars under the matrix
const SIDE = 46; // of the chosen column's bars at its right
const LABEL = 15; // of a row with a label of its own

// Where everything lies in a canvas so wide.
function layOut(data, width) {
  const left = 50;
  const across = Math.max(60, width - left - SIDE - 8);
  const least = data.labels ? LABEL * data.outs : 70;
  const tall = Math.min(Math.max((across * data.outs) / data.steps, least, 70), Math.max(across, 420), 560);
  const top = CURVES + 14;
  return { left, across, top, tall, under: top + tall + 4, height: top + tall + ROW + 40 };
}

// The (possibly fractional) frame number of a time.
function frameAt(data, time) {
  const after = data.times.findIndex((t) => t >= time - 1e-6);
  if (after < 0) return data.steps - 1;
  if (after === 0) return 0;
  const [from, to] = [data.times[after - 1], data.times[after]];
  return after - 1 + (time - from) / (to - from);
}

// Where an output step lies among the frames; labels, which are no times, lie evenly.
function momentOf(data, output) {
  if (data.labels) return ((output + 0.5) / data.outs) * data.steps;
  return frameAt(data, data.timesOut[output]) + 0.5;
}

function cellAt(data, place, x, y) {
  const within = (part, length, count) =>
    Math.min(count - 1, Math.max(0, Math.floor((part / length) * count)));
  return {
    input: within(x - place.left, place.across, data.steps),
    output: y < place.top ? undefined : within(y - place.top, place.tall, data.outs),
  };
}

function drawMatrix(canvas, data, choice, scale) {
  const place = layOut(data, canvas.clientWidth);
  const context = fresh(canvas, place.height);
  drawCurves(context, data, place);
  drawCells(context, data, choice, scale, place);
  drawAxes(context, data, place);
  drawKeys();
}

function drawCells(context, data, choice, scale, place) {
  const { values } = matrixOf(data, choice);
  hatch(context, place);
  const image = new ImageData(data.steps, data.outs);
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue;
    const row = Math.floor(i / data.steps);
    const ofRow = scale.ofRow(row);
    const at = colourIndex(ofRow, values[i]);
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = ofRow.table[at + c];
    image.data[4 * i + 3] = 255;
  }
  const small = document.createElement("canvas");
  [small.width, small.height] = [data.steps, data.outs];
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, place.left, place.top, place.across, place.tall);
  context.imageSmoothingEnabled = true;
}

function hatch(context, place) {
  context.save();
  context.beginPath();
  context.rect(place.left, place.top, place.across, place.tall);
  context.clip();
  context.strokeStyle = style("--hatch");
  context.lineWidth = 1;
  context.beginPath();
  for (let x = -place.tall; x < place.across; x += 7) {
    context.moveTo(place.left + x, place.top + place.tall);
    context.lineTo(place.left + x + place.tall, place.top);
  }
  context.stroke();
  context.restore();
}

// Score curves of the classes shown, in logits, by output time.
function drawCurves(context, data, place) {
  const series = data.curves.map((target) =>
    Array.from({ length: data.outs }, (_, o) => data.scores[o * data.classes.length + target]),
  );
  const low = Math.min(...series.map((s) => Math.min(...s)));
  const high = Math.max(...series.map((s) => Math.max(...s)), low + 1e-9);
  const y = (value) => CURVES - 4 - ((value - low) / (high - low)) * (CURVES - 16);
  const each = place.across / data.steps;
  const x = (o) => place.left + momentOf(data, o) * each;
  for (let k = series.length - 1; k >= 0; k--)
    drawLine(context, k, series[k].map((value, o) => [x(o), y(value)]));
  context.fillStyle = style("--soft");
  context.textAlign = "right";
  context.fillText(Number(high.toPrecision(2)), place.left - 6, y(high) + 4);
  context.fillText(Number(low.toPrecision(2)), place.left - 6, y(low) + 2);
  context.textAlign = "left";
  upright(context, "score", 11, CURVES / 2);
}

// The k-th class's line: the explained one's is thick, each has its own dashes.
function drawLine(context, k, points) {
  context.beginPath();
  for (const point of points) context.lineTo(...point);
  if (points.length === 1) context.arc(...points[0], 3, 0, 7);
  context.strokeStyle = style(`--c${k % 4}`);
  context.lineWidth = k ? 1.5 : 3;
  context.setLineDash([[], [6, 4], [2, 3], [9, 3, 2, 3]][k % 4]);
  context.stroke();
  context.setLineDash([]);
}

function drawKeys() {
  document.querySelectorAll("#legend canvas").forEach((canvas, k) =>
    drawLine(fresh(canvas, 10), k, [[0, 5], [28, 5]]),
  );
}

function upright(context, words, x, y) {
  context.save();
  context.translate(x, y);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(words, 0, 0);
  context.restore();
}

// A label as long as there is room for beside the matrix.
function clipped(label) {
  return label.length > 8 ? `${label.slice(0, 7)}…` : label;
}

// Frame numbers to mark on an axis so long, so many pixels apart.
function ticks(count, length, apart = 64) {
  const wish = Math.max(2, Math.min(count, Math.floor(length / apart)));
  const step = Math.max(1, Math.ceil((count - 1) / (wish - 1)));
  return Array.from({ length: Math.floor((count - 1) / step) + 1 }, (_, i) => i * step);
}

function drawAxes(context, data, place) {
  context.strokeStyle = style("--line");
  context.lineWidth = 1;
  context.strokeRect(place.left - 0.5, place.top - 0.5, place.across + 1, place.tall + 1);
  context.fillStyle = style("--soft");
  context.textAlign = "center";
  for (const t of ticks(data.steps, place.across))
    context.fillText(data.times[t].toFixed(1), place.left + ((t + 0.5) / data.steps) * place.across, place.under + ROW + 16);
  context.fillText("input time t (s)", place.left + place.across / 2, place.under + ROW + 32);
  context.textAlign = "right";
  const rows = data.labels ? ticks(data.outs, place.tall, LABEL - 1) : ticks(data.outs, place.tall);
  for (const o of rows)
    context.fillText(data.labels ? clipped(data.labels[o]) : data.timesOut[o].toFixed(1), place.left - 6, place.top + ((o + 0.5) / data.outs) * place.tall + 4);
  context.textAlign = "left";
  const words = place.tall < 160 ? "t′ (s)" : "output time t′ (s)";
  if (!data.labels) upright(context, words, 11, place.top + place.tall / 2);
}

// The layer above: cross-hair, bars of the shown row below and of the column at the right,
// each as long as its largest value. An aggregation over all steps has no row to mark.
function drawCursor(canvas, data, choice, cell, out) {
  const place = layOut(data, canvas.clientWidth);
  const context = fresh(canvas, place.height);
  const wide = place.across / data.steps;
  const high = place.tall / data.outs;
  const x = place.left + cell.input * wide;
  const y = place.top + cell.output * high;
  const column = columnOf(data, choice, cell.input);
  const ends = (peak) => ({ low: choice.signed ? -peak : 0, high: peak });
  const rowEnds = ends(rowPeak(data, choice, out));
  drawRowBars(context, rowOf(data, choice, out), rowEnds, place, wide);
  drawColumnBars(context, column, ends(largest(column.filter((x) => x))), place, high);
  frame(context, x, place.top, wide, place.tall, 1);
  if (typeof out === "string") return;
  frame(context, place.left, y, place.across, high, 1);
  frame(context, x, y, wide, high, 2);
  const moment = place.left + momentOf(data, cell.output) * wide;
  context.fillStyle = style("--mark");
  context.fillRect(moment - 0.5, 4, 1, CURVES - 4);
}

// A box that is seen on dark cells and on bright ones.
function frame(context, x, y, width, height, line) {
  const grown = Math.max(line, 1);
  const box = [x - grown, y - grown, Math.max(width, 2) + 2 * grown, Math.max(height, 2) + 2 * grown];
  context.lineWidth = line + 2;
  context.strokeStyle = style("--halo");
  context.globalAlpha = line > 1 ? 1 : 0.35;
  context.strokeRect(...box);
  context.lineWidth = line;
  context.strokeStyle = style("--mark");
  context.globalAlpha = line > 1 ? 1 : 0.8;
  context.strokeRect(...box);
  context.globalAlpha = 1;
}

function drawRowBars(context, row, scale, place, wide) {
  const colours = [style("--c0"), style("--c1")];
  const signed = scale.low < 0;
  const base = place.under + (signed ? ROW / 2 : ROW);
  const reach = signed ? ROW / 2 : ROW;
  row.forEach((value, t) => {
    const long = scale.high > 0 && value ? (value / scale.high) * reach : 0;
    context.fillStyle = colours[value > 0 ? 0 : 1];
    context.fillRect(place.left + t * wide, base - Math.max(long, 0), Math.max(wide - 0.5, 0.5), Math.abs(long));
  });
  context.fillStyle = style("--line");
  context.fillRect(place.left, base, place.across, 1);
}

function drawColumnBars(context, column, scale, place, high) {
  const left = place.left + place.across + 6;
  const { low, high: peak } = scale;
  const reach = low < 0 ? SIDE / 2 : SIDE;
  const base = left + (low < 0 ? SIDE / 2 : 0);
  const colours = [style("--c0"), style("--c1")];
  column.forEach((value, o) => {
    const long = peak > 0 && value ? (value / peak) * reach : 0;
    context.fillStyle = colours[value > 0 ? 0 : 1];
    context.fillRect(base + Math.min(long, 0), place.top + o * high, Math.abs(long), Math.max(high - 0.5, 0.5));
  });
  context.fillStyle = style("--line");
  context.fillRect(base, place.top, 1, place.tall);
}

function drawLag(canvas, data, choice) {
  const lags = lagOf(data, choice);
  const context = fresh(canvas, 158);
  const [left, across, tall] = [52, canvas.clientWidth - 60, 110];
  const high = Math.max(...lags, 0);
  const y = (value) => 8 + (1 - value / (high || 1)) * tall;
  const wide = across / data.steps;
  context.fillStyle = style("--soft");
  lags.forEach((value, lag) =>
    context.fillRect(left + lag * wide, y(value), Math.max(wide - 0.5, 0.5), y(0) - y(value)),
  );
  context.fillStyle = style("--line");
  context.fillRect(left, y(0), across, 1);
  context.fillStyle = style("--soft");
  context.textAlign = "right";
  context.fillText(short(high), left - 6, y(high) + 8);
  context.fillText("0", left - 6, y(0) + 2);
  context.textAlign = "center";
  for (const lag of ticks(data.steps, across))
    context.fillText((data.times[lag] - data.times[0]).toFixed(1), left + (lag + 0.5) * wide, tall + 24);
  context.fillText("lag t′ − t (s)", left + across / 2, tall + 42);
  context.textAlign = "left";
}

// The page's state, and what changes it. Drawing is a function of the state.

function begin() {
  const data = readData();
  const state = {
    choice: { k: 0, j: -1, signed: false },
    cell: { input: 0, output: data.opening },
    shown: null, // the cell pointed at, or else the chosen one
    scale: "row", // of the pictures: this decision's, or the whole clip's
    rows: false, // whether each row of the grid has a scale of its own
    colours: "inferno",
    opacity: 0.6,
    beside: true,
    follow: false,
  };
  const [best] = topMoments(data, state.choice, data.opening, 1);
  state.cell.input = best ? best.frame : Math.min(data.opening, data.steps - 1);
  readAddress(data, state);
  state.shown = state.cell;
  const view = makeView(data, state);
  fillChoices(data);
  connect(data, state, view);
  view.everything();
  performance.mark("rgcam-ready");
  const place = () => layOut(data, document.getElementById("cursor").clientWidth);
  window.rgcam = { data, state, view, place }; // for a console, and for tests
}

// What draws: view.everything(), view.choice() and view.cell() in falling cost.
function makeView(data, state) {
  const by = (id) => document.getElementById(id);
  const map = new Float32Array(data.cells);
  const paint = heatPainter(data.height, data.width, 96);
  const small = heatPainter(data.height, data.width, 40);
  const alone = data.beside && heatPainter(data.besideHeight, data.besideWidth, 96);
  const images = loadFrames(data, (t) => arrived(t));
  const scales = () => scalesOf(data, state);
  let waiting = 0;

  function arrived(t) {
    if (t === state.shown.input) pictures();
    clearTimeout(waiting);
    waiting = setTimeout(film, 30);
  }

  function pictures() {
    const { input, output } = state.shown;
    const { choice } = state;
    const scale = scales().cells;
    const seen = pairOf(data, output, input) >= 0;
    mapOf(data, choice, output, input, map);
    const words = !seen ? "not seen yet at this decision" : largest(map) ? "" : "no evidence in this frame";
    drawPicture(by("picture"), data, images[input], (c, ...at) => paint(c, map, scale, state.opacity, ...at), words);
    if (!state.beside) return;
    const other = besideOf(data, state);
    const own = other.map && other.map.subarray(input * data.besideCells, (input + 1) * data.besideCells);
    const cover = own && ((c, ...at) => alone(c, own, other.scale, state.opacity, ...at));
    drawPicture(by("beside"), data, images[input], cover, other.words || (largest(own) ? "" : "no evidence in this frame"));
  }

  function film() {
    const { output, input } = state.shown;
    const { cells } = scales();
    const own = new Float32Array(data.cells);
    const heat = (c, m, ...at) => small(c, m, cells, state.opacity, ...at);
    const mapAt = (t) => mapOf(data, state.choice, output, t, own);
    const row = rowOf(data, state.choice, output);
    const peak = state.scale === "clip" ? matrixOf(data, state.choice).peak : rowPeak(data, state.choice, output);
    const scale = { low: state.choice.signed ? -peak : 0, high: peak };
    drawFilm(by("film"), data, { images, heat, mapAt, row, scale, input });
  }

  function bars() {
    const { cells, grid } = scales();
    barWords("bar", cells, unitWords(data, state, "importance of a place", state.scale === "row"));
    drawBar(by("bar"), cells);
    const row = grid.ofRow(state.shown.output);
    barWords("grid", row, unitWords(data, state, "importance of a frame", state.rows));
    drawBar(by("grid-bar"), row);
  }

  function cell() {
    drawCursor(by("cursor"), data, state.choice, state.shown);
    pictures();
    if (state.scale === "row" || state.rows) bars();
    film();
    const decision = seconds(data.timesOut[state.shown.output]);
    say("film-title", `What the decision at ${decision} for ${asked(data, state.choice)} looked at`);
    say("picture-title", `${data.method} of the decision at ${decision}`);
    sayCell(data, state);
  }

  function choice() {
    drawWhen(by("when"), data, state.choice, scales().grid);
    bars();
    besideBar(data, state);
    hint(data, state.choice, goTo);
    if (data.square) drawLag(by("lag"), data, state.choice);
    by("colours-label").hidden = state.choice.signed;
    cell();
    settled();
  }

  // A decision, and the frame that counted most for it.
  function goTo(output) {
    const [best] = topMoments(data, state.choice, output, 1);
    move(data, state, view, { output, input: best ? best.frame : output });
  }

  // What follows a chosen cell, not one that is only pointed at.
  function settled() {
    const go = (input) => move(data, state, view, { input });
    momentTable(data, state.choice, state.cell.output, go);
    clearTimeout(settled.timer);
    settled.timer = setTimeout(() => {
      writeAddress(data, state);
      say("spoken", cellWords(data, state.choice, state.cell));
    }, 250);
  }

  const view = { everything: choice, choice, cell, settled };
  return view;
}

// The scales of the maps and of the grid; the grid's is asked for each row.
function scalesOf(data, state) {
  const { choice, colours } = state;
  const { output } = state.shown;
  const matrix = matrixOf(data, choice);
  const make = (peak) => scaleOf(data, choice, peak, colours);
  const cells = state.scale === "clip" ? matrix.cellPeak : rowCellPeak(data, choice, output);
  const whole = make(matrix.peak);
  const ofRow = (out) => (state.rows ? make(rowPeak(data, choice, out)) : whole);
  return { cells: make(cells), grid: { ofRow: remembered(ofRow) } };
}

function remembered(make) {
  const made = new Map();
  return (key) => made.get(key) ?? made.set(key, make(key)).get(key);
}

// The frame CNN's maps (frames, h w) of the class, and its own scale.
function besideOf(data, state) {
  const { k, j, signed } = state.choice;
  if (!data.beside || j >= 0) return { map: null, words: "shown for one class at a time" };
  const size = data.steps * data.besideCells;
  const raw = data.beside.subarray(k * size, (k + 1) * size);
  if (!raw.length) return { map: null, words: "not computed for this class" };
  const key = `beside ${k} ${signed}`;
  if (!data.found.has(key)) {
    const map = signed ? raw : raw.map((value) => Math.max(value, 0));
    data.found.set(key, { map, peak: largest(map) });
  }
  const { map, peak } = data.found.get(key);
  return { map, scale: scaleOf(data, state.choice, peak, state.colours), words: "" };
}

function besideBar(data, state) {
  const figure = document.getElementById("beside-figure");
  figure.hidden = !state.beside;
  figure.parentElement.classList.toggle("alone", !state.beside);
  if (!state.beside) return;
  const { scale } = besideOf(data, state);
  say("beside-title", "Grad-CAM of a frame CNN, each frame alone");
  if (!scale) return ["low", "high", "unit"].forEach((part) => say(`beside-${part}`, ""));
  barWords("beside", scale, `importance of a place, in logits of ${data.besideName}; one scale for the whole clip`);
  drawBar(document.getElementById("beside-bar"), scale);
}

function sayCell(data, state) {
  say("status", cellWords(data, state.choice, state.shown));
  say("input-time", seconds(data.times[state.shown.input]));
  say("output-time", seconds(data.timesOut[state.shown.output]));
  document.getElementById("input").value = state.shown.input;
  document.getElementById("output").value = state.shown.output;
}

// Choose another cell; numbers beyond the ends stay at them.
function move(data, state, view, { input = state.cell.input, output = state.cell.output }) {
  const within = (value, count) => Math.min(count - 1, Math.max(0, value));
  state.cell = { input: within(input, data.steps), output: within(output, data.outs) };
  state.shown = state.cell;
  view.cell();
  view.settled();
}

begin();

// The page's state, and what changes it. Drawing is a function of the state.

function begin() {
  const data = readData();
  const { opening } = data;
  const state = {
    choice: { k: 0, j: -1, signed: opening.signed },
    aggregate: typeof opening.output === "string" ? opening.output : "", // over all steps
    cell: { input: 0, output: opening.step },
    shown: null, // the cell pointed at, or else the chosen one
    scale: "row", // of the maps: of the output step, or of all of them
    rows: false, // whether each row of the matrix has a scale of its own
    colours: "inferno",
    opacity: 0.6,
    baseline: true,
    follow: false,
  };
  const [best] = topMoments(data, state.choice, opening.output, 1);
  state.cell.input = best ? best.frame : Math.min(opening.step, data.steps - 1);
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

// The output steps that are shown: a step's number, or "mean" or "max" over all.
function outOf(state) {
  return state.aggregate || state.shown.output;
}

// What draws: view.everything(), view.choice() and view.cell() in falling cost.
function makeView(data, state) {
  const by = (id) => document.getElementById(id);
  const map = new Float32Array(data.cells);
  const paint = heatPainter(data.height, data.width, 96);
  const paintSmall = heatPainter(data.height, data.width, 40);
  const { baseline } = data;
  const paintBaseline = baseline && heatPainter(baseline.height, baseline.width, 96);
  const images = loadFrames(data, (t) => arrived(t));
  const scales = () => scalesOf(data, state);
  let waiting = 0;

  function arrived(t) {
    if (t === state.shown.input) maps();
    clearTimeout(waiting);
    waiting = setTimeout(film, 30);
  }

  function maps() {
    const { input } = state.shown;
    const out = outOf(state);
    const scale = scales().cells;
    mapOf(data, state.choice, out, input, map);
    const heat = (c, ...at) => paint(c, map, scale, state.opacity, ...at);
    const none = largest(map) ? "" : "no attribution in this frame";
    const words = isSeen(data, out, input) ? none : "not seen yet at this output step";
    drawMap(by("map"), data, images[input], heat, words, state.choice.signed);
    if (!state.baseline) return;
    const shown = baselineOf(data, state);
    if (!shown.maps) return drawMap(by("baseline"), data, images[input], null, shown.words);
    const cells = baseline.height * baseline.width;
    const own = shown.maps.subarray(input * cells, (input + 1) * cells);
    const cover = (c, ...at) => paintBaseline(c, own, shown.scale, state.opacity, ...at);
    drawMap(by("baseline"), data, images[input], cover, largest(own) ? "" : "no attribution in this frame");
  }

  function film() {
    const { input } = state.shown;
    const out = outOf(state);
    const { cells } = scales();
    const buffer = new Float32Array(data.cells);
    const heat = (c, m, ...at) => paintSmall(c, m, cells, state.opacity, ...at);
    const mapAt = (t) => mapOf(data, state.choice, out, t, buffer);
    const row = rowOf(data, state.choice, out);
    const ofStep = state.scale === "row" || state.aggregate;
    const peak = ofStep ? rowPeak(data, state.choice, out) : matrixOf(data, state.choice).peak;
    const scale = { low: state.choice.signed ? -peak : 0, high: peak };
    drawFilm(by("film"), data, { images, heat, mapAt, row, scale, input, grey: state.choice.signed });
  }

  function bars() {
    const { cells, grid } = scales();
    const step = `of the output step ${atWords(data, state.shown.output)}`;
    const all = "all output steps";
    const ofStep = state.aggregate ? "all frames" : `all frames ${step}`;
    const range = state.scale === "row" || state.aggregate ? ofStep : all;
    barWords("map", cells, scaleWords("importance of a cell", range));
    drawBar(by("map-bar"), cells);
    const row = grid.ofRow(state.shown.output);
    const rows = `${state.rows ? `the row ${step}` : all}; colours by the square root`;
    barWords("matrix", row, scaleWords("importance of a frame", rows));
    drawBar(by("matrix-bar"), row);
  }

  function cell() {
    const out = outOf(state);
    drawCursor(by("cursor"), data, state.choice, state.shown, out);
    maps();
    if (state.scale === "row" || state.rows) bars();
    film();
    say("map-title", mapTitle(data, out));
    say("film-title", `Importance of every frame for ${classWords(data, state.choice)}: ${stepsWords(data, out)}`);
    say("view", viewWords(data, state.choice, out));
    sayVerdict(data, state.choice, out);
    sayCell(data, state);
  }

  function choice() {
    drawMatrix(by("matrix"), data, state.choice, scales().grid);
    bars();
    baselineBar(data, state);
    hint(data, state.choice, goTo);
    sayChoice(data, state.choice);
    holdPlace(data, state.choice);
    if (data.causal) drawLag(by("lag"), data, state.choice);
    by("colours-label").hidden = state.choice.signed && !state.baseline;
    cell();
    chosen();
  }

  // An output step, and the frame with the largest importance for it.
  function goTo(output) {
    const [best] = topMoments(data, state.choice, output, 1);
    move(data, state, view, { output, input: best ? best.frame : output });
  }

  // What follows a chosen cell, not one that is only pointed at.
  function chosen() {
    const go = (input) => move(data, state, view, { input });
    momentTable(data, state.choice, outOf(state), go);
    clearTimeout(chosen.timer);
    chosen.timer = setTimeout(() => {
      writeAddress(data, state);
      say("spoken", cellWords(data, state.choice, outOf(state), state.cell.input));
    }, 250);
  }

  const view = { everything: choice, choice, cell, chosen };
  return view;
}

// The scales of the maps and of the matrix; the matrix's is asked for each row.
function scalesOf(data, state) {
  const { choice, colours } = state;
  const out = outOf(state);
  const matrix = matrixOf(data, choice);
  const make = (peak) => scaleOf(data, choice.signed, peak, colours);
  const ofStep = state.scale === "row" || state.aggregate;
  const cells = ofStep ? rowCellPeak(data, choice, out) : matrix.cellPeak;
  const makeGrid = (peak) => matrixScaleOf(data, choice.signed, peak, colours);
  const whole = makeGrid(matrix.peak);
  const ofRow = (row) => (state.rows ? makeGrid(rowPeak(data, choice, row)) : whole);
  return { cells: make(cells), grid: { ofRow: remembered(ofRow) } };
}

function remembered(make) {
  const values = new Map();
  return (key) => values.get(key) ?? values.set(key, make(key)).get(key);
}

// The frame CNN's rectified maps (frames, h w) of the class, and their own scale.
function baselineOf(data, state) {
  const { k, j } = state.choice;
  if (!data.baseline || j >= 0) return { maps: null, words: "shown for one class at a time" };
  const size = data.steps * data.baseline.height * data.baseline.width;
  const maps = data.baseline.maps.subarray(k * size, (k + 1) * size);
  if (!maps.length) return { maps: null, words: "not computed for this class" };
  const peak = cached(data, `baseline ${k}`, () => largest(maps));
  return { maps, scale: scaleOf(data, false, peak, state.colours), words: "" };
}

function baselineBar(data, state) {
  const figure = document.getElementById("baseline-figure");
  figure.hidden = !state.baseline;
  figure.parentElement.classList.toggle("alone", !state.baseline);
  if (!state.baseline) return;
  const { scale } = baselineOf(data, state);
  say("baseline-title", "Frame-CNN baseline: Grad-CAM of each frame by itself");
  if (!scale) {
    ["low", "high", "unit"].forEach((part) => say(`baseline-${part}`, ""));
    return fresh(document.getElementById("baseline-bar"), 10);
  }
  barWords("baseline", scale, `importance of a cell, in logits of ${data.baseline.name}; one scale for all frames`);
  drawBar(document.getElementById("baseline-bar"), scale);
}

// What depends on the classes and signs that are shown, not on the cell.
function sayChoice(data, choice) {
  const title = titleWords(data, choice);
  document.title = title;
  say("title", title);
  say("reading", readingWords(data, choice));
  const own = choice.k === 0 && choice.j < 0 && choice.signed === data.opening.signed;
  say("reach", own ? data.reach : "");
}

// Nothing may move under the pointer when it shows another output step: the lines above
// the matrix keep the height of their longest text.
function holdPlace(data, choice) {
  const outs = [data.opening.output, data.outs - 1, 0];
  hold("view", outs.map((out) => viewWords(data, choice, out)));
  hold("map-title", outs.map((out) => mapTitle(data, out)));
  const kinds = [true, false].map((passed) => data.checks.find((c) => c.passed === passed));
  hold("verdict", [data.notChecked, ...kinds].filter(Boolean).map((c) => verdictWords(data, c)));
}

function hold(id, texts) {
  const line = document.getElementById(id);
  line.style.minHeight = "";
  const heights = texts.map((text) => {
    say(id, text);
    return line.offsetHeight;
  });
  line.style.minHeight = `${Math.max(...heights)}px`;
}

function sayVerdict(data, choice, out) {
  const check = verdictOf(data, choice, out);
  say("verdict", verdictWords(data, check));
  const state = check.passed === null ? "unknown" : check.passed ? "passed" : "failed";
  document.getElementById("verdict").className = `verdict ${state}`;
}

function sayCell(data, state) {
  const { input, output } = state.shown;
  say("status", cellWords(data, state.choice, outOf(state), input));
  say("input-time", seconds(data.times[input]));
  say("output-time", state.aggregate ? "all" : outWords(data, output));
  document.getElementById("input").value = input;
  document.getElementById("output").value = output;
}

// Choose another cell; numbers beyond the ends stay at them. A step that is chosen is
// shown instead of an aggregation over all steps.
function move(data, state, view, { input = state.cell.input, output }) {
  const within = (value, count) => Math.min(count - 1, Math.max(0, value));
  const wasAggregate = state.aggregate;
  if (output !== undefined) state.aggregate = "";
  state.cell = {
    input: within(input, data.steps),
    output: within(output ?? state.cell.output, data.outs),
  };
  state.shown = state.cell;
  if (wasAggregate !== state.aggregate) {
    showChoices(data, state);
    return view.choice();
  }
  view.cell();
  view.chosen();
}

begin();

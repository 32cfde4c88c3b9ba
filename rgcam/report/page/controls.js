// What a person does: pointing, keys, sliders, menus, playing.

function fillChoices(data) {
  const by = (id) => document.getElementById(id);
  const option = (value, words) => Object.assign(document.createElement("option"), { value, textContent: words });
  const classes = data.targets.map((_, k) => option(k, className(data, k)));
  const methods = data.methods.map(({ methodTitle }, m) => option(m, methodTitle));
  by("method").replaceChildren(...methods);
  by("method-label").hidden = data.methods.length < 2;
  by("target").replaceChildren(...classes);
  by("rather").replaceChildren(option(-1, "no other class"), ...classes.map((c) => c.cloneNode(true)));
  by("colours").replaceChildren(...Object.keys(data.sequential).map((name) => option(name, name)));
  const aggregations = Object.entries(data.aggregations).map(([name, words]) => option(name, words));
  by("steps").replaceChildren(option("", "one step"), ...aggregations);
  by("steps-label").hidden = data.outs < 2;
  by("baseline-label").hidden = !data.baseline;
  by("follow").parentElement.hidden = Boolean(data.labels) || data.outs < 2;
  by("input").max = data.steps - 1;
  by("output").max = data.outs - 1;
  say("lead", data.words.lead);
  legendOf(data);
}

// Make the menus say what the state says.
function showChoices(data, state) {
  const by = (id) => document.getElementById(id);
  by("lag-section").hidden = !data.causal;
  for (const option of by("steps").options)
    option.disabled = option.value !== "" && !canAggregate(data, state.choice, option.value);
  by("sign-label").hidden = !data.signed;
  by("rather-label").hidden = !data.signed || data.targets.length < 2;
  by("method").value = data.m;
  by("target").value = state.choice.k;
  by("rather").value = state.choice.j;
  by("sign").value = state.choice.signed ? "signed" : "positive";
  by("steps").value = state.aggregate;
  by("scale").value = state.scale;
  by("colours").value = state.colours;
  by("opacity").value = 100 * state.opacity;
  by("baseline-box").checked = state.baseline;
  by("rows-box").checked = state.rows;
  by("follow").checked = state.follow;
  for (const option of by("rather").options) option.disabled = Number(option.value) === state.choice.k;
}

function connect(data, state, view) {
  state.baseline = state.baseline && Boolean(data.baseline);
  showChoices(data, state);
  connectChoices(data, state, view);
  connectMatrix(data, state, view);
  connectFilm(data, state, view);
  connectKeys(data, state, view);
  const toggle = connectPlayer(data, state, view);
  document.getElementById("play").addEventListener("click", toggle);
  document.getElementById("map").addEventListener("click", toggle);
  document.getElementById("baseline").addEventListener("click", toggle);
  connectPage(data, state, view);
}

function connectChoices(data, state, view) {
  const on = (id, event, change) =>
    document.getElementById(id).addEventListener(event, ({ target }) => {
      change(target);
      if (!canAggregate(data, state.choice, state.aggregate)) state.aggregate = "";
      showChoices(data, state);
      view.choice();
    });
  // A method opens on the signs that were checked for figures and text.
  on("method", "change", ({ value }) => {
    useMethod(data, Number(value));
    state.choice.signed = data.opening.signed;
  });
  on("target", "change", ({ value }) => {
    state.choice.k = Number(value);
    if (state.choice.j === state.choice.k) state.choice.j = -1;
  });
  on("rather", "change", ({ value }) => (state.choice.j = Number(value)));
  on("sign", "change", ({ value }) => (state.choice.signed = value === "signed"));
  on("steps", "change", ({ value }) => (state.aggregate = value));
  on("scale", "change", ({ value }) => (state.scale = value));
  on("colours", "change", ({ value }) => (state.colours = value));
  on("opacity", "input", ({ value }) => (state.opacity = Number(value) / 100));
  on("baseline-box", "change", ({ checked }) => (state.baseline = checked));
  on("rows-box", "change", ({ checked }) => (state.rows = checked));
  on("follow", "change", ({ checked }) => (state.follow = checked));
  for (const name of ["input", "output"])
    document.getElementById(name).addEventListener("input", ({ target }) =>
      move(data, state, view, { [name]: Number(target.value) }),
    );
}

// Pointing shows a cell, pressing stays there; above the matrix the output step is kept,
// and so are all of them where an aggregation over them is shown.
function connectMatrix(data, state, view) {
  const canvas = document.getElementById("cursor");
  const find = (event) => {
    return cellAt(data, layOut(data, canvas.clientWidth), event.offsetX, event.offsetY);
  };
  const show = ({ input, output }) => {
    const cell = { input, output: output ?? state.cell.output };
    if (cell.input === state.shown.input && cell.output === state.shown.output) return;
    state.shown = cell;
    view.cell();
  };
  canvas.addEventListener("pointermove", (event) =>
    event.buttons ? move(data, state, view, find(event)) : show(find(event)),
  );
  canvas.addEventListener("pointerdown", (event) => move(data, state, view, find(event)));
  canvas.addEventListener("pointerleave", () => show(state.cell));
}

function connectFilm(data, state, view) {
  const canvas = document.getElementById("film");
  canvas.addEventListener("pointerdown", (event) => {
    const part = Math.min(Math.max(event.offsetX / canvas.clientWidth, 0), 0.9999);
    const picks = filmFrames(data, canvas.clientWidth);
    const bars = event.offsetY > canvas.clientHeight - FILM_BARS;
    const input = bars ? Math.floor(part * data.steps) : picks[Math.floor(part * picks.length)];
    move(data, state, view, { input });
  });
}

// Where a key goes in a cell; undefined: nowhere.
function stepOf(event, data, cell, onMatrix) {
  const side = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const ends = { Home: 0, End: Infinity }[event.key];
  if (side && event.shiftKey) return { output: cell.output + side };
  if (side) return { input: cell.input + side };
  if (ends !== undefined) return event.shiftKey ? { output: ends } : { input: ends };
  const up = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (up && (onMatrix || event.shiftKey)) return { output: cell.output + up };
  return undefined;
}

function connectKeys(data, state, view) {
  document.addEventListener("keydown", (event) => {
    const onMatrix = event.target.id === "cursor";
    const busy = event.target.closest("input, select, button, summary, [role=region]");
    if (event.ctrlKey || event.metaKey || event.altKey || (busy && !onMatrix)) return;
    const cell = stepOf(event, data, state.cell, onMatrix);
    if (cell) move(data, state, view, cell);
    else if (event.key === " ") document.getElementById("play").click();
    else return;
    event.preventDefault();
  });
}

// Playing moves the frame, and with "follow" the output step; returns the play switch.
function connectPlayer(data, state, view) {
  const button = document.getElementById("play");
  let last = null; // the time of the last tick, null when stopped
  let clock = 0;

  function tick(now) {
    if (last === null) return;
    clock += ((now - last) / 1000) * Number(document.getElementById("speed").value);
    last = now;
    const end = data.times[data.steps - 1] + 0.5; // a moment to see the end
    if (clock > end) clock = data.times[0];
    const input = Math.max(0, data.times.findLastIndex((time) => time <= clock + 1e-6));
    if (input !== state.cell.input) move(data, state, view, { input, ...followed(data, state, input) });
    requestAnimationFrame(tick);
  }

  return () => {
    const start = last === null;
    last = start ? performance.now() : null;
    clock = state.cell.input >= data.steps - 1 ? data.times[0] : data.times[state.cell.input];
    button.textContent = start ? "Pause" : "Play";
    button.setAttribute("aria-pressed", start);
    if (start) requestAnimationFrame(tick);
  };
}

// The newest output step that had seen the frame last shown.
function followed(data, state, input) {
  if (!state.follow) return {};
  return { output: Math.max(0, data.timesOut.findLastIndex((time) => time <= data.times[input] + 1e-6)) };
}

function connectPage(data, state, view) {
  const on = (id, act) => document.getElementById(id).addEventListener("click", act);
  on("save-png", () => saveView(data, state));
  on("save-json", () => saveNumbers(data, state));
  on("save-csv", () => saveMatrix(data, state));
  on("copy", () => copyLink(data, state));
  document.getElementById("copy").hidden = location.protocol === "about:"; // a notebook
  on("theme", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    view.everything();
  });
  addEventListener("hashchange", () => {
    readAddress(data, state);
    state.shown = state.cell;
    showChoices(data, state);
    view.everything();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.everything());
  let wide = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === wide) return;
    wide = document.body.clientWidth;
    view.everything();
  }).observe(document.body);
}

async function copyLink(data, state) {
  writeAddress(data, state);
  try {
    await navigator.clipboard.writeText(location.href);
    say("copy", "Copied");
  } catch {
    say("copy", "The link is in the address bar");
  }
  setTimeout(() => say("copy", "Copy link to this view"), 2000);
}

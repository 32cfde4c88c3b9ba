// The table of videos: filtered, sorted, a page at a time.

const PAGE = 50; // rows in the document at once
const by = (id) => document.getElementById(id);

const fixed = (digits, unit) => (value) => (value === null ? "" : `${value.toFixed(digits)}${unit}`);
const percent = (value) => (value === null ? "" : `${(100 * value).toFixed(1)} %`);

// What a column shows: its title, the value that it sorts by, and how a cell is filled.
const COLUMNS = [
  { title: "Video", value: (v) => v.video, fill: name },
  { title: "Prediction", value: (v) => v.prediction, fill: prediction },
  { title: "Frames", value: null, fill: thumbnails },
  { title: "Probability", value: (v) => v.probability, text: percent },
  { title: "Label", value: (v) => v.label, text: String, needs: (v) => v.label },
  { title: "Explained class", value: (v) => v.target, text: String, needs: (v) => v.target !== v.prediction },
  { title: "Shown method", value: (v) => v.method, text: String },
  { title: "Faithfulness", value: (v) => v.score, fill: faithfulness },
  { title: "Half-life", value: (v) => v.halfLife, text: fixed(2, " s") },
  { title: "Recurrent share", value: (v) => v.recurrentShare, text: percent },
  { title: "Top moment", value: (v) => v.topMoment, fill: moment },
];

function cellText(cell, text, className = "") {
  cell.textContent = text;
  cell.className = className;
}

function thumbnails(cell, video) {
  if (!video.thumbnails) return;
  const image = document.createElement("img");
  image.src = video.thumbnails;
  image.alt = `Frames of ${video.video} under their heat maps`;
  cell.append(image);
}

function name(cell, video) {
  cell.className = "name";
  if (!video.report) return void (cell.textContent = video.video);
  const link = document.createElement("a");
  link.href = video.report;
  link.textContent = video.video;
  cell.append(link);
}

function prediction(cell, video) {
  const verdict = { true: " ✓ correct", false: " ✗ wrong", null: "" }[video.correct];
  const className = { true: "correct", false: "wrong", null: "" }[video.correct];
  cellText(cell, `${video.prediction}${verdict}`, className);
}

function faithfulness(cell, video) {
  if (video.passed === null) return cellText(cell, "not checked");
  const score = video.score === null ? "no effect" : video.score.toFixed(2);
  cellText(cell, `${video.passed ? "passed" : "failed"} (${score})`, video.passed ? "correct" : "wrong");
}

function moment(cell, video) {
  if (video.topMoment === null) return cellText(cell, "none");
  cellText(cell, `${video.topMoment.toFixed(2)} s (${(100 * video.topShare).toFixed(0)} %)`);
}

const KINDS = {
  all: () => true,
  wrong: (v) => v.correct === false,
  correct: (v) => v.correct === true,
  failed: (v) => v.passed === false,
  passed: (v) => v.passed === true,
  error: (v) => v.error !== "",
};

// Compare two values; what is missing comes last, whatever the direction.
function compare(a, b, direction) {
  const missing = (x) => x === null || x === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  return direction * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
}

// The videos that the state chooses, in its order. The data come with errors first.
function chosen(data, state) {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = data.videos.filter((v) => {
    const text = `${v.video} ${v.prediction} ${v.label} ${v.error}`.toLowerCase();
    const ofClass = !state.class || [v.prediction, v.label, v.target].includes(state.class);
    return ofClass && KINDS[state.kind](v) && words.every((word) => text.includes(word));
  });
  const value = state.order === "column" ? COLUMNS[state.column].value : (v) => v.probability;
  const direction = state.order === "column" ? state.direction : { most: -1, least: 1 }[state.order];
  return direction ? rows.sort((a, b) => compare(value(a), value(b), direction)) : rows;
}

function drawRow(video, columns) {
  const row = document.createElement("tr");
  for (const column of columns) {
    const cell = row.insertCell();
    if (column.fill) column.fill(cell, video);
    else cell.textContent = column.value(video) === null ? "" : column.text(column.value(video));
    if (video.error && column.title === "Video") {
      const error = row.insertCell();
      error.colSpan = columns.length - 1;
      cellText(error, video.error, "error");
      break;
    }
  }
  return row;
}

function draw(data, state) {
  const rows = chosen(data, state);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  state.page = Math.min(Math.max(state.page, 0), pages - 1);
  const start = state.page * PAGE;
  const columns = COLUMNS.filter((column) => !column.needs || data.videos.some(column.needs));
  const part = rows.slice(start, start + PAGE);
  by("videos").tBodies[0].replaceChildren(...part.map((video) => drawRow(video, columns)));
  by("count").textContent = `${rows.length} of ${data.videos.length} videos`;
  by("place").textContent = `Page ${state.page + 1} of ${pages}`;
  by("previous").disabled = state.page === 0;
  by("next").disabled = state.page === pages - 1;
  by("order").value = state.order;
  drawHead(data, state, columns);
}

function drawHead(data, state, columns) {
  const head = by("videos").tHead.rows[0];
  const focused = document.activeElement?.dataset?.column;
  head.replaceChildren(
    ...columns.map((column) => {
      const number = COLUMNS.indexOf(column);
      const cell = Object.assign(document.createElement("th"), { scope: "col" });
      if (!column.value) return Object.assign(cell, { textContent: column.title });
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: column.title });
      button.dataset.column = number;
      button.addEventListener("click", () => sortBy(data, state, number));
      const sorted = state.order === "column" && state.column === number;
      if (sorted) cell.setAttribute("aria-sort", state.direction > 0 ? "ascending" : "descending");
      cell.append(button);
      return cell;
    }),
  );
  if (focused !== undefined) head.querySelector(`[data-column="${focused}"]`)?.focus();
}

// A first press sorts from small to large, a second the other way.
function sortBy(data, state, column) {
  const again = state.order === "column" && state.column === column;
  Object.assign(state, { order: "column", column, direction: again ? -state.direction : 1, page: 0 });
  draw(data, state);
}

function start(data) {
  const state = { search: "", class: "", kind: "all", order: "errors", column: 0, direction: 1, page: 0 };
  for (const name of data.classes) {
    by("class").append(Object.assign(document.createElement("option"), { value: name, textContent: name }));
  }
  for (const id of ["search", "class", "kind", "order"]) {
    by(id).addEventListener("input", ({ target }) => {
      Object.assign(state, { [id]: target.value, page: 0 });
      draw(data, state);
    });
  }
  by("choices").addEventListener("submit", (event) => event.preventDefault());
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    by(id).addEventListener("click", () => {
      state.page += step;
      draw(data, state);
    });
  }
  by("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  draw(data, state);
  return { data, state };
}

const rgcam = start(JSON.parse(by("data").textContent));

// What can be saved: the view as an image, its numbers as JSON, the matrix as CSV.

function offer(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Named after what the file depends on: class, kind, and output steps where it has some.
function fileName(data, choice, ending, out) {
  const plain = (k) => className(data, k).replace(/[^\p{L}\p{N}]+/gu, "-");
  const rather = choice.j < 0 ? "" : `-rather-than-${plain(choice.j)}`;
  const kind = choice.signed ? "signed" : "positive";
  const steps = out === undefined ? "" : typeof out === "string" ? `-${out}` : `-step-${out}`;
  const method = data.methods.length > 1 ? `-${data.method}` : "";
  return `explanation-${plain(choice.k)}${rather}${method}-${kind}${steps}.${ending}`;
}

// Every drawing and every word that is marked data-print, where it stands on the page.
function viewImage() {
  const area = document.getElementById("explorer");
  area.classList.add("printing"); // leaves out what only a hand can use
  const canvas = drawing(area);
  area.classList.remove("printing");
  return canvas;
}

const TOP = 76; // CSS pixels of the lines above: title, view, verdict

function drawing(area) {
  const origin = area.getBoundingClientRect();
  const title = document.querySelector("h1").textContent;
  const ratio = Math.max(2, window.devicePixelRatio || 1);
  const last = document.getElementById("film").getBoundingClientRect();
  const canvas = document.createElement("canvas");
  canvas.width = origin.width * ratio;
  canvas.height = (last.bottom - origin.top + TOP + 8) * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = style("--paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = style("--ink");
  context.font = "600 17px system-ui, sans-serif";
  context.fillText(title, 0, 20, origin.width);
  context.font = "13px system-ui, sans-serif";
  ["view", "verdict"].forEach((id, i) =>
    context.fillText(document.getElementById(id).textContent, 0, 42 + 18 * i, origin.width),
  );
  for (const part of area.querySelectorAll("canvas, [data-print]")) {
    const place = part.getBoundingClientRect();
    if (!place.width || place.bottom > last.bottom + 1) continue;
    const at = [place.left - origin.left, place.top - origin.top + TOP];
    if (part.tagName === "CANVAS") context.drawImage(part, ...at, place.width, place.height);
    else if (part.id === "legend") for (const one of part.children) printLegend(context, one, origin);
    else printWords(context, part, ...at, place.width);
  }
  return canvas;
}

function printLegend(context, part, origin) {
  const place = part.getBoundingClientRect();
  printWords(context, part, place.left - origin.left + 33, place.top - origin.top + TOP - 3, 999);
}

function printWords(context, part, x, y, width) {
  const look = getComputedStyle(part);
  context.font = `${look.fontWeight} ${look.fontSize} system-ui, sans-serif`;
  context.fillStyle = look.color;
  const high = 1.4 * parseFloat(look.fontSize);
  let line = "";
  for (const word of part.textContent.split(" ")) {
    if (line && context.measureText(`${line} ${word}`).width > width) {
      context.fillText(line, x, (y += high));
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  context.fillText(line, x, y + high);
}

function saveView(data, state) {
  const name = fileName(data, state.choice, "png", outOf(state));
  viewImage().toBlob((blob) => offer(name, blob));
}

// Rows of the matrix, null where a pair does not exist: frames not seen yet.
function matrixRows(data, choice) {
  return Array.from({ length: data.outs }, (_, out) =>
    Array.from(rowOf(data, choice, out), (value) => (Number.isNaN(value) ? null : value)),
  );
}

function numbers(data, state) {
  const { choice, cell } = state;
  const out = outOf(state);
  const map = mapOf(data, choice, out, cell.input, new Float32Array(data.cells));
  return {
    title: titleWords(data, choice),
    view: viewWords(data, choice, out),
    faithfulness: verdictOf(data, choice, out).verdict,
    method: data.methodTitle,
    class: className(data, choice.k),
    rather_than: choice.j < 0 ? null : className(data, choice.j),
    kind: choice.signed ? "signed" : "positive",
    output_steps: state.aggregate || "one",
    unit: "logits",
    times: Array.from(data.times),
    times_out: data.labels ? null : Array.from(data.timesOut),
    labels: data.labels,
    frames_of_steps: data.spans,
    scores: Array.from({ length: data.outs }, (_, step) => scoreOf(data, choice, step)),
    matrix: matrixRows(data, choice),
    row: Array.from(rowOf(data, choice, out), (value) => (Number.isNaN(value) ? null : value)),
    top_moments: topMoments(data, choice, out, data.momentCount),
    cell: { t: cell.input, t_out: state.aggregate ? null : cell.output },
    map: Array.from({ length: data.height }, (_, i) => Array.from(map.subarray(i * data.width, (i + 1) * data.width))),
    map_scale: scalesOf(data, state).cells.high,
    map_error: data.error,
    about: data.about,
  };
}

function saveNumbers(data, state) {
  const text = JSON.stringify(numbers(data, state), null, 1);
  const name = fileName(data, state.choice, "json", outOf(state));
  offer(name, new Blob([text], { type: "application/json" }));
}

function saveMatrix(data, state) {
  const head = ["output_s \\ input_s", ...data.times].join(",");
  const name = (out) => (data.labels ? JSON.stringify(data.labels[out]) : data.timesOut[out]);
  const rows = matrixRows(data, state.choice).map((row, out) => [name(out), ...row].join(","));
  const text = `${[head, ...rows].join("\n")}\n`;
  offer(fileName(data, state.choice, "csv"), new Blob([text], { type: "text/csv" }));
}

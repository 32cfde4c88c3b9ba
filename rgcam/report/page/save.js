// What can be taken away: the view as a picture, the numbers as JSON and CSV.

function offer(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function fileName(data, choice, ending) {
  const plain = (k) => data.classes[data.targets[k]].replace(/[^\p{L}\p{N}]+/gu, "-");
  const rather = choice.j < 0 ? "" : `-rather-than-${plain(choice.j)}`;
  return `explanation-${plain(choice.k)}${rather}.${ending}`;
}

// Every drawing and every word that is marked data-print, where it stands on the page.
function picturePage() {
  const area = document.getElementById("explorer");
  area.classList.add("printing"); // leaves out what only a hand can use
  const canvas = picture(area);
  area.classList.remove("printing");
  return canvas;
}

function picture(area) {
  const origin = area.getBoundingClientRect();
  const title = document.querySelector("h1").textContent;
  const ratio = Math.max(2, window.devicePixelRatio || 1);
  const last = document.getElementById("film").getBoundingClientRect();
  const canvas = document.createElement("canvas");
  canvas.width = origin.width * ratio;
  canvas.height = (last.bottom - origin.top + 44) * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = style("--paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = style("--ink");
  context.font = "600 17px system-ui, sans-serif";
  context.fillText(title, 0, 20, origin.width);
  for (const part of area.querySelectorAll("canvas, [data-print]")) {
    const place = part.getBoundingClientRect();
    if (!place.width || place.bottom > last.bottom + 1) continue;
    const at = [place.left - origin.left, place.top - origin.top + 36];
    if (part.tagName === "CANVAS") context.drawImage(part, ...at, place.width, place.height);
    else if (part.id === "legend") for (const one of part.children) printLegend(context, one, origin);
    else printWords(context, part, ...at, place.width);
  }
  return canvas;
}

function printLegend(context, part, origin) {
  const place = part.getBoundingClientRect();
  printWords(context, part, place.left - origin.left + 33, place.top - origin.top + 33, 999);
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

function savePicture(data, state) {
  picturePage().toBlob((blob) => offer(fileName(data, state.choice, "png"), blob));
}

function gridRows(data, choice) {
  return Array.from({ length: data.outs }, (_, out) =>
    Array.from(rowOf(data, choice, out), (value) => (Number.isNaN(value) ? 0 : value)),
  );
}

function numbers(data, state) {
  const { choice, cell } = state;
  const map = mapOf(data, choice, cell.output, cell.input, new Float32Array(data.cells));
  return {
    title: document.title,
    class: data.classes[data.targets[choice.k]],
    rather_than: choice.j < 0 ? null : data.classes[data.targets[choice.j]],
    kind: choice.signed ? "signed" : "positive",
    unit: "logits",
    times: Array.from(data.times),
    times_out: Array.from(data.timesOut),
    scores: Array.from({ length: data.outs }, (_, out) => scoreOf(data, choice, out)),
    matrix: gridRows(data, choice),
    cell: { t: cell.input, t_out: cell.output },
    map: Array.from({ length: data.height }, (_, i) => Array.from(map.subarray(i * data.width, (i + 1) * data.width))),
    map_error: data.error,
    about: data.about,
  };
}

function saveNumbers(data, state) {
  const text = JSON.stringify(numbers(data, state), null, 1);
  offer(fileName(data, state.choice, "json"), new Blob([text], { type: "application/json" }));
}

function saveGrid(data, state) {
  const head = ["decision_s \\ frame_s", ...data.times].join(",");
  const rows = gridRows(data, state.choice).map((row, out) => [data.timesOut[out], ...row].join(","));
  const text = `${[head, ...rows].join("\n")}\n`;
  offer(fileName(data, state.choice, "csv"), new Blob([text], { type: "text/csv" }));
}

// Everything that is said in words, always as text: names are never markup. Sentences
// that figures and terminal say too are templates of the record, in data.words.

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1000 || size < 0.001 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

function say(id, words) {
  document.getElementById(id).textContent = words;
}

function seconds(time) {
  return `${time.toFixed(2)} s`;
}

function fill(template, names) {
  return template.replace(/\{(\w+)\}/g, (_, name) => names[name]);
}

function className(data, k) {
  return data.classes[data.targets[k]];
}

// What is explained: “a”, or “a” rather than “b”.
function classWords(data, choice) {
  const name = `“${className(data, choice.k)}”`;
  return choice.j < 0 ? name : `${name} rather than “${className(data, choice.j)}”`;
}

function titleWords(data, choice) {
  const { titles, model, source } = data.words;
  const prediction = data.classes[data.predicted];
  const names = { model, source, prediction, target: className(data, choice.k) };
  if (choice.j >= 0) return fill(titles.pair, { ...names, other: className(data, choice.j) });
  return fill(data.targets[choice.k] === data.predicted ? titles.prediction : titles.class, names);
}

// Which output steps are shown, as figures and terminal say it.
function stepsWords(data, out) {
  if (out === data.opening.output) return data.openingSteps;
  if (typeof out === "string") return data.aggregations[out];
  return `output step ${data.labels ? outWords(data, out) : `t' = ${seconds(data.timesOut[out])}`}`;
}

// An output step by its time, or by its label where it has no time, such as a word.
function outWords(data, out) {
  if (data.labels && data.outs === 1) return data.labels[0];
  return data.labels ? `“${data.labels[out]}”` : seconds(data.timesOut[out]);
}

// The same in a sentence: at a time, for a label.
function atWords(data, out) {
  return `${data.labels ? "for" : "at"} ${outWords(data, out)}`;
}

// A column of the matrix: a frame, or the frames that a step of the feature map covers.
function frameWords(data, input) {
  const time = seconds(data.times[input]);
  return data.spans ? `the frames around ${time} (frames ${data.spans[input]})` : `the frame at ${time} (frame ${input})`;
}

function viewWords(data, choice, out) {
  const { view, signed, rectified } = data.words;
  const kind = choice.signed ? signed : rectified;
  return fill(view, { method: data.methodTitle, kind, target: classWords(data, choice), steps: stepsWords(data, out) });
}

// What a faithfulness check found, and what it means.
function verdictWords(data, { verdict, passed }) {
  const { faithfulness, passed: whenPassed, failed } = data.words;
  const meaning = passed === null ? "" : passed ? whenPassed : failed;
  return fill(faithfulness, { verdict }) + meaning;
}

function mapTitle(data, out) {
  const { methodTitle } = data;
  return `${methodTitle[0].toUpperCase()}${methodTitle.slice(1)}: ${stepsWords(data, out)}`;
}

function readingWords(data, choice) {
  const { readingSigned, reading } = data.words;
  return fill(choice.signed ? readingSigned : reading, { target: classWords(data, choice) });
}

// One frame's importance in a sentence or two.
function cellWords(data, choice, out, input) {
  const row = rowOf(data, choice, out);
  const value = row[input];
  const frame = frameWords(data, input);
  const start =
    typeof out === "string"
      ? `${data.aggregations[out][0].toUpperCase()}${data.aggregations[out].slice(1)}:`
      : `Output step ${out} ${atWords(data, out)}: the score for ${classWords(data, choice)} is ${short(scoreOf(data, choice, out))};`;
  if (Number.isNaN(value)) return `${start} ${frame} had not been seen yet.`;
  const mass = row.reduce((sum, x) => (x > 0 ? sum + x : sum), 0);
  if (mass === 0 && !choice.signed) return `${start} there is no positive evidence in any frame.`;
  const share = value > 0 ? `, ${((100 * value) / mass).toFixed(1)} % of all support` : "";
  const verb = data.spans ? (value < 0 ? "oppose" : "support") : value < 0 ? "opposes" : "supports";
  const what = typeof out === "string" ? classWords(data, choice) : "it";
  return `${start} ${frame} ${verb} ${what} with ${value > 0 ? "+" : ""}${short(value)}${share}.`;
}

function scaleWords(what, range) {
  return `${what}, in logits; one scale for ${range}`;
}

function barWords(name, scale, unit) {
  say(`${name}-low`, scale.high > 0 ? short(scale.low) : "");
  say(`${name}-high`, scale.high > 0 ? short(scale.high) : "");
  say(`${name}-unit`, scale.high > 0 ? unit : "no positive evidence: all values are 0");
}

function legendOf(data) {
  const parts = data.curves.map((target) => {
    const part = document.createElement("span");
    part.append(document.createElement("canvas"), data.classes[target]);
    return part;
  });
  document.getElementById("legend").replaceChildren(...parts);
}

// At late steps a score may rest on the recurrent state alone: say so, and where it rose.
function hint(data, choice, go) {
  const mass = (out) => rowOf(data, choice, out).reduce((sum, x) => (x > 0 ? sum + x : sum), 0);
  const all = Array.from({ length: data.outs }, (_, out) => mass(out));
  const best = all.indexOf(Math.max(...all));
  const line = document.getElementById("hint");
  line.hidden = all[data.outs - 1] >= 0.25 * all[best];
  if (line.hidden) return;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `Go to ${outWords(data, best)}`;
  button.addEventListener("click", () => go(best));
  const last = short(all[data.outs - 1]);
  line.replaceChildren(
    `At the last output step all frames together support this score with only +${last}; `,
    `${atWords(data, best)} they support it with +${short(all[best])}. `,
    button,
  );
}

function momentRows(data, choice, out, go) {
  return topMoments(data, choice, out, data.momentCount).map((moment) => {
    const line = document.createElement("tr");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = seconds(data.times[moment.frame]);
    button.addEventListener("click", () => go(moment.frame));
    const share = `${(100 * moment.share).toFixed(1)} %`;
    [button, data.spans ? data.spans[moment.frame] : moment.frame, moment.importance.toPrecision(4), share].forEach((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      line.append(cell);
    });
    return line;
  });
}

function momentTable(data, choice, out, go) {
  const rows = momentRows(data, choice, out, go);
  if (!rows.length) {
    const cell = document.createElement("td");
    cell.colSpan = 4;
    cell.textContent = "No positive evidence in any frame.";
    rows.push(document.createElement("tr"));
    rows[0].append(cell);
  }
  document.querySelector("#moments tbody").replaceChildren(...rows);
  say("moments-title", `Top moments: ${stepsWords(data, out)}`);
}

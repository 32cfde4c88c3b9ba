// Everything that is said in words, always as text: names are never markup.

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1000 || size < 0.001 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

function quoted(name) {
  return `“${name}”`;
}

function say(id, words) {
  document.getElementById(id).textContent = words;
}

function asked(data, choice) {
  const name = quoted(data.classes[data.targets[choice.k]]);
  return choice.j < 0 ? name : `${name} rather than ${quoted(data.classes[data.targets[choice.j]])}`;
}

function seconds(time) {
  return `${time.toFixed(2)} s`;
}

// One cell in a sentence or two.
function cellWords(data, choice, cell) {
  const row = rowOf(data, choice, cell.output);
  const value = row[cell.input];
  const when = `At ${seconds(data.timesOut[cell.output])} (decision ${cell.output})`;
  const score = `${when} the score for ${asked(data, choice)} is ${short(scoreOf(data, choice, cell.output))}.`;
  const which = `The frame at ${seconds(data.times[cell.input])} (frame ${cell.input})`;
  if (Number.isNaN(value)) return `${score} ${which} had not been seen yet.`;
  const mass = row.reduce((sum, x) => (x > 0 ? sum + x : sum), 0);
  if (mass === 0 && !choice.signed) return `${score} There is no positive evidence in any frame.`;
  const share = value > 0 ? `, ${(100 * value / mass).toFixed(1)} % of the evidence for it` : "";
  return `${score} ${which} counted ${value > 0 ? "+" : ""}${short(value)}${share}.`;
}

function unitWords(data, state, what, byRow) {
  const range = byRow
    ? `all frames of the decision at ${seconds(data.timesOut[state.shown.output])}`
    : "the whole clip";
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

// Late scores may rest on what was decided long before: say when, and offer to go there.
function hint(data, choice, go) {
  const mass = (out) => rowOf(data, choice, out).reduce((sum, x) => (x > 0 ? sum + x : sum), 0);
  const all = Array.from({ length: data.outs }, (_, out) => mass(out));
  const best = all.indexOf(Math.max(...all));
  const line = document.getElementById("hint");
  line.hidden = all[data.outs - 1] >= 0.25 * all[best];
  if (line.hidden) return;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `Go to ${seconds(data.timesOut[best])}`;
  button.addEventListener("click", () => go(best));
  const last = short(all[data.outs - 1]);
  line.replaceChildren(
    `At the end little moves this score any more: all frames together count +${last}, `,
    `at ${seconds(data.timesOut[best])} they count +${short(all[best])}. `,
    button,
  );
}

function momentRows(data, choice, output, go) {
  return topMoments(data, choice, output, 5).map((moment) => {
    const line = document.createElement("tr");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = seconds(data.times[moment.frame]);
    button.addEventListener("click", () => go(moment.frame));
    const cells = [button, moment.frame, moment.importance.toPrecision(4), `${(100 * moment.share).toFixed(1)} %`];
    cells.forEach((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      line.append(cell);
    });
    return line;
  });
}

function momentTable(data, choice, output, go) {
  const rows = momentRows(data, choice, output, go);
  if (!rows.length) {
    const cell = document.createElement("td");
    cell.colSpan = 4;
    cell.textContent = "No positive evidence in any frame.";
    rows.push(document.createElement("tr"));
    rows[0].append(cell);
  }
  document.querySelector("#moments tbody").replaceChildren(...rows);
  say("moments-title", `What counted most for the decision at ${seconds(data.timesOut[output])}`);
}

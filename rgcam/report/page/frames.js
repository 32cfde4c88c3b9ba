// Frames under heat maps: the player and the film strip.

// Images are decoded by the browser when first drawn; `arrived` is called for each.
function loadFrames(data, arrived) {
  return data.frames.map((source, t) => {
    const image = new Image();
    image.onload = () => arrived(t);
    image.src = source;
    return image;
  });
}

// Draw frame t at (x, y, width, height) under a map; what the model did not see is dim.
// Under signed heat the frame is grey, or its colours would be taken for the heat's.
function drawFrame(context, data, image, heat, grey, x, y, width, height) {
  if (image.complete && image.naturalWidth) context.drawImage(image, x, y, width, height);
  if (grey) {
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(x, y, width, height);
    context.globalCompositeOperation = "source-over";
  }
  const [top, left, bottom, right] = data.box;
  const place = [x + left * width, y + top * height, (right - left) * width, (bottom - top) * height];
  context.fillStyle = "rgb(0 0 0 / 50%)";
  context.beginPath();
  context.rect(x, y, width, height);
  context.rect(...place);
  context.fill("evenodd");
  if (heat) heat(context, ...place);
}

function drawMap(canvas, data, image, heat, words, grey = false) {
  const width = canvas.clientWidth;
  const height = Math.round((width * data.frameHeight) / data.frameWidth);
  const context = fresh(canvas, height);
  drawFrame(context, data, image, heat, grey, 0, 0, width, height);
  if (words) banner(context, words, width, height);
}

function banner(context, words, width, height) {
  context.font = "600 13px system-ui, sans-serif";
  const long = Math.min(context.measureText(words).width + 16, width);
  context.fillStyle = "rgb(0 0 0 / 75%)";
  context.fillRect((width - long) / 2, height - 30, long, 24);
  context.fillStyle = "#fff";
  context.textAlign = "center";
  context.fillText(words, width / 2, height - 13, width - 8);
  context.textAlign = "left";
}

const FILM_BARS = 46; // CSS pixels of the bars beneath the frames

// Which frames the strip shows: evenly chosen, the last one always.
function filmFrames(data, width) {
  const count = Math.min(data.steps, Math.max(4, Math.floor(width / 96)));
  if (count === 1) return [0];
  return Array.from({ length: count }, (_, i) => Math.round((i * (data.steps - 1)) / (count - 1)));
}

// view: {images, heat, mapAt(t), row, scale, input, grey}.
function drawFilm(canvas, data, view) {
  const width = canvas.clientWidth;
  const picks = filmFrames(data, width);
  const each = width / picks.length;
  const high = ((each - 4) * data.frameHeight) / data.frameWidth;
  const context = fresh(canvas, high + 20 + FILM_BARS);
  context.textAlign = "center";
  const soft = style("--soft");
  picks.forEach((t, i) => {
    const place = [i * each + 2, 16, each - 4, high];
    const heat = (c, ...at) => view.heat(c, view.mapAt(t), ...at);
    drawFrame(context, data, view.images[t], heat, view.grey, ...place);
    context.fillStyle = soft;
    context.fillText(`${data.times[t].toFixed(2)} s`, (i + 0.5) * each, 11);
  });
  context.textAlign = "left";
  drawFilmBars(context, data, view, width, high + 20);
}

function drawFilmBars(context, data, view, width, top) {
  const each = width / data.steps;
  const base = view.scale.low < 0 ? top + FILM_BARS / 2 : top + FILM_BARS - 2;
  const reach = view.scale.low < 0 ? FILM_BARS / 2 - 2 : FILM_BARS - 4;
  const colours = [style("--c0"), style("--c1")];
  view.row.forEach((value, t) => {
    if (!value || !view.scale.high) return;
    const long = (value / view.scale.high) * reach;
    context.fillStyle = colours[value > 0 ? 0 : 1];
    context.fillRect(t * each, base - Math.max(long, 0), Math.max(each - 1, 0.75), Math.abs(long));
  });
  context.fillStyle = style("--line");
  context.fillRect(0, base, width, 1);
  context.strokeStyle = style("--mark");
  context.lineWidth = 2;
  context.strokeRect(view.input * each, top, Math.max(each, 3), FILM_BARS - 1);
}

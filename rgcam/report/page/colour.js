// Values to colours. A scale is {low, high, table, power}: 0 is always its end or its
// middle, and the colour follows the value's size to the power.

function scaleOf(data, signed, peak, colours) {
  const table = signed ? data.divergingHeat : data.sequential[colours];
  return { low: signed ? -peak : 0, high: peak, table, power: 1 };
}

function matrixScaleOf(data, signed, peak, colours) {
  const table = signed ? data.diverging : data.sequential[colours];
  return { low: signed ? -peak : 0, high: peak, table, power: data.matrixPower };
}

function colourIndex(scale, value) {
  const size = scale.high > 0 ? Math.min(1, Math.abs(value) / scale.high) ** scale.power : 0;
  const unit = scale.low < 0 ? 0.5 + (Math.sign(value) * size) / 2 : value > 0 ? size : 0;
  return 3 * Math.round(255 * unit);
}

function cssColour(scale, value) {
  const at = colourIndex(scale, value);
  return `rgb(${scale.table[at]} ${scale.table[at + 1]} ${scale.table[at + 2]})`;
}

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Size a canvas to its place on the page and clear it; drawing is in CSS pixels.
function fresh(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) {
    [canvas.width, canvas.height] = size;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  return context;
}

function drawBar(canvas, scale) {
  const context = fresh(canvas, 10);
  const width = canvas.clientWidth;
  for (let x = 0; x < width; x++) {
    const value = scale.low + ((x + 0.5) / width) * (scale.high - scale.low);
    context.fillStyle = scale.high > 0 ? cssColour(scale, value) : "#888";
    context.fillRect(x, 0, 1, 10);
  }
}

// Bilinear, half-pixel centres, clamped: the same enlargement as the overlay's.
function tents(size, cells) {
  return Array.from({ length: size }, (_, i) => {
    const centre = Math.min(Math.max(((i + 0.5) * cells) / size - 0.5, 0), cells - 1);
    const first = Math.min(Math.floor(centre), Math.max(cells - 2, 0));
    return [first, Math.min(first + 1, cells - 1), centre - first];
  });
}

// A painter of heat maps: paint(context, map, scale, opacity, x, y, width, height).
function heatPainter(height, width, size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const inner = canvas.getContext("2d");
  const image = inner.createImageData(size, size);
  const rows = tents(size, height);
  const columns = tents(size, width);
  return (context, map, scale, opacity, ...place) => {
    const pixels = image.data;
    for (let y = 0, p = 0; y < size; y++) {
      const [top, bottom, down] = rows[y];
      for (let x = 0; x < size; x++, p += 4) {
        const [left, right, over] = columns[x];
        const upper = map[top * width + left] * (1 - over) + map[top * width + right] * over;
        const lower = map[bottom * width + left] * (1 - over) + map[bottom * width + right] * over;
        const value = upper * (1 - down) + lower * down;
        const part = scale.high > 0 ? Math.min(1, Math.abs(value) / scale.high) : 0;
        const at = colourIndex(scale, value);
        pixels[p] = scale.table[at];
        pixels[p + 1] = scale.table[at + 1];
        pixels[p + 2] = scale.table[at + 2];
        pixels[p + 3] = 255 * opacity * (1 - (1 - part) ** 2);
      }
    }
    inner.putImageData(image, 0, 0);
    context.drawImage(canvas, ...place);
  };
}

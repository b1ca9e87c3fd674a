// Pointing at a feature map, or moving its position with the arrow keys, shows the receptive field on the photo.
"use strict";
(() => {
  const photo = document.getElementById("view");
  const status = document.getElementById("status");
  const [photoHeight, photoWidth] = numbers(photo.dataset.size);
  const stations = new Map();

  function numbers(text) {
    return text.split(" ").map(Number);
  }

  // receptive field along one axis, clipped to the photo: first pixel, and first pixel after it
  function span(index, size, jump, start, end) {
    const first = start + index * jump;
    return [Math.min(Math.max(0, first), end), Math.max(0, Math.min(end, first + size))];
  }

  function show(station) {
    const { name, rows, columns, size, jump, start, position } = station;
    const [row, column] = position;
    const [top, bottom] = span(row, size[0], jump[0], start[0], photoHeight);
    const [left, right] = span(column, size[1], jump[1], start[1], photoWidth);
    const [width, height] = [Math.max(0, right - left), Math.max(0, bottom - top)];
    photo.querySelector(".shade").setAttribute(
      "d", `M0 0H${photoWidth}V${photoHeight}H0Z M${left} ${top}v${height}h${width}v${-height}Z`);
    const box = photo.querySelector(".box");
    for (const [key, value] of Object.entries({ x: left, y: top, width, height })) box.setAttribute(key, value);
    photo.classList.add("pointed");
    let text = `${name}, row ${row}, column ${column}: `;
    if (width === 0 || height === 0) text += "the receptive field has only padding.";
    else if (width === photoWidth && height === photoHeight) text += "the receptive field covers the whole photo.";
    else {
      text += `receptive field ${width} × ${height} pixels, columns ${left} to ${right - 1}, rows ${top} to ${bottom - 1}.`;
      if (width < size[1] || height < size[0]) text += ` The rest of ${size[1]} × ${size[0]} is outside the photo.`;
    }
    if (status.textContent !== text) status.textContent = text;
    for (const other of stations.values()) other.element.classList.toggle("active", other === station);
    for (const cell of station.cells) {
      cell.style.left = `${(100 * column) / columns}%`;
      cell.style.top = `${(100 * row) / rows}%`;
      cell.style.width = `${100 / columns}%`;
      cell.style.height = `${100 / rows}%`;
    }
    station.picker.setAttribute("aria-valuenow", String(row * columns + column));
    station.picker.setAttribute("aria-valuetext", `row ${row}, column ${column}`);
    station.picker.querySelector(".at").textContent = `row ${row}, column ${column}`;
  }

  function within(value, end) {
    return Math.max(0, Math.min(end - 1, value));
  }

  function move(station, rows, columns) {
    const [row, column] = station.position;
    station.position = [within(row + rows, station.rows), within(column + columns, station.columns)];
    show(station);
  }

  function steps(station, key) {
    return {
      ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      Home: [0, -station.columns], End: [0, station.columns],
      PageUp: [-station.rows, 0], PageDown: [station.rows, 0],
    }[key];
  }

  function prepare(element) {
    const [rows, columns] = numbers(element.dataset.shape);
    const [size, jump, start] = ["size", "jump", "start"].map((key) => numbers(element.dataset[key]));
    const picker = element.querySelector(".picker");
    const cells = [...element.querySelectorAll(".frame")].map((frame) => {
      const cell = document.createElement("span");
      cell.className = "cell";
      return frame.appendChild(cell);
    });
    const position = [Math.floor(rows / 2), Math.floor(columns / 2)];
    const station = { element, name: element.dataset.name, rows, columns, size, jump, start, picker, cells, position };
    stations.set(element, station);
    picker.hidden = false;
    picker.addEventListener("focus", () => show(station));
    picker.addEventListener("keydown", (event) => {
      const step = steps(station, event.key);
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      move(station, ...step);
    });
  }

  function point(event) {
    const frame = event.target.closest?.(".frame");
    const station = frame && stations.get(frame.closest(".station"));
    if (!station) return;
    const area = frame.getBoundingClientRect();
    const row = Math.floor(((event.clientY - area.top) / area.height) * station.rows);
    const column = Math.floor(((event.clientX - area.left) / area.width) * station.columns);
    station.position = [within(row, station.rows), within(column, station.columns)];
    show(station);
  }

  document.querySelectorAll(".station[data-size]").forEach(prepare);
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.getElementById("help").hidden = stations.size === 0;
})();

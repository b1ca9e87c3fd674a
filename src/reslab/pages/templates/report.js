// Opens the photos of a cell of the confusion matrix. Each photo is a button with a part of a sprite sheet.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const [viewer, title, list, detail, more, paths] = ["viewer", "viewer-title", "photos", "detail", "more", "paths"]
    .map((id) => document.getElementById(id));
  const STEP = 120; // photos that are added at once
  const SIDE = 64; // pixels of a thumbnail
  const sheet = document.styleSheets[0];
  data.sheets.forEach((uri, number) => sheet.insertRule(`.sheet${number} { background-image: url(${uri}); }`));

  let chosen = [];
  let opener = null; // the button whose photos are shown

  function fill(text, values) {
    return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }

  function percent(value) {
    return fill(data.texts.percent, { value: (100 * value).toFixed(1) });
  }

  function paint(element, photo, scale) {
    if (photo.place === null) {
      element.classList.add("blank");
      return;
    }
    const place = photo.place % data.per_sheet;
    const [row, column] = [Math.floor(place / data.columns), place % data.columns];
    const number = Math.floor(photo.place / data.per_sheet);
    const inSheet = Math.min(data.per_sheet, data.thumbnails - number * data.per_sheet);
    const [width, height] = [Math.min(inSheet, data.columns), Math.ceil(inSheet / data.columns)];
    element.classList.add(`sheet${number}`);
    element.style.backgroundSize = `${width * SIDE * scale}px ${height * SIDE * scale}px`;
    element.style.backgroundPosition = `${-column * SIDE * scale}px ${-row * SIDE * scale}px`;
  }

  function describe(photo) {
    const values = { label: data.classes[photo.label], predicted: data.classes[photo.predicted], probability: percent(photo.probability) };
    return fill(photo.label === photo.predicted ? data.texts.right : data.texts.wrong, values);
  }

  function show(button) {
    for (const other of list.children) other.tabIndex = other === button ? 0 : -1;
    const photo = chosen[Number(button.dataset.number)];
    for (const other of list.querySelectorAll("[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", "true");
    const large = document.createElement("span");
    large.className = "thumb large";
    large.setAttribute("role", "img");
    large.setAttribute("aria-label", photo.place === null ? data.texts.no_picture : data.texts.picture);
    paint(large, photo, 3);
    const words = document.createElement("p");
    words.textContent = describe(photo);
    const path = document.createElement("p");
    path.className = "quiet path";
    path.textContent = photo.path;
    detail.replaceChildren(large, words, path);
  }

  function add() {
    const first = list.children.length;
    for (const [offset, photo] of chosen.slice(first, first + STEP).entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = photo.label === photo.predicted ? "thumb" : "thumb missed";
      button.dataset.number = String(first + offset);
      button.tabIndex = -1;
      button.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-label", `${describe(photo)} ${photo.path}`);
      button.title = photo.path;
      paint(button, photo, 1);
      list.append(button);
    }
    const left = chosen.length - list.children.length;
    more.hidden = left === 0;
    more.textContent = fill(data.texts.more, { count: String(Math.min(STEP, left)), left: String(left) });
    return list.children[first];
  }

  function open(button) {
    opener = button;
    const { true: label, predicted } = button.dataset;
    chosen = data.photos.filter((photo) =>
      (label === "any" || photo.label === Number(label)) &&
      (predicted === "any" || (predicted === "wrong" ? photo.label !== photo.predicted : photo.predicted === Number(predicted))));
    const total = label === "any" ? (predicted === "any" ? data.total : chosen.length) : Number(button.textContent.replace(/,/g, ""));
    const name = button.getAttribute("aria-label") ?? button.textContent;
    title.textContent = total > chosen.length ? `${name} ${fill(data.texts.some, { count: String(chosen.length) })}` : name;
    paths.textContent = chosen.map((photo) => photo.path).join("\n");
    for (const other of document.querySelectorAll(".open")) other.setAttribute("aria-expanded", String(other === button));
    list.replaceChildren();
    viewer.hidden = false;
    show(add());
    title.focus({ preventScroll: true });
    viewer.scrollIntoView({ block: "nearest" });
  }

  function steps(key) {
    const columns = Math.max(1, Math.floor(list.clientWidth / (list.firstElementChild.offsetWidth + 6)));
    return { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity }[key];
  }

  list.addEventListener("keydown", (event) => {
    const step = steps(event.key);
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const now = Number(document.activeElement.dataset.number);
    const next = Math.max(0, Math.min(list.children.length - 1, now + step));
    list.children[next].focus();
  });
  list.addEventListener("focusin", (event) => show(event.target));
  list.addEventListener("click", (event) => event.target !== list && show(event.target));
  viewer.addEventListener("keydown", (event) => event.key === "Escape" && opener.focus());
  document.getElementById("back").addEventListener("click", () => opener.focus());
  more.addEventListener("click", () => add().focus());
  for (const button of document.querySelectorAll(".open")) {
    button.setAttribute("aria-controls", "viewer");
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => open(button));
  }
})();

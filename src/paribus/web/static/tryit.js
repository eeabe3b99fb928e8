// The page `try`: what is drawn or given is sent to /api/try, and what comes back is shown.

const PAPER = "#ffffff";
const INK = "#111111";
const WAIT_MS = 120; // Between two answers while a stroke is being drawn.
const STEP = 12; // Of the keyboard's pen, in pixels of the canvas.
const MOST_BARS = 12; // More classes than this: only the most probable, best first.
const FINE = 96; // From this width on, an image is no sight of single pixels.

const find = (id) => document.getElementById(id);
const form = find("try");

function start() {
  const asking = new Asking(show, say);
  const choices = new Choices(() => asking.again());
  const drawing = new Drawing(find("canvas"), find("pen"), (strokes) => {
    find("undo").disabled = find("clear").disabled = strokes === 0;
    if (strokes === 0) asking.forget("drawing");
    else asking.ask("drawing", () => ({ file: drawing.file(), ...choices.chosen() }));
  });
  find("undo").addEventListener("click", () => drawing.undo());
  find("clear").addEventListener("click", () => drawing.clear());
  takeImages((file) => {
    showThumbnail(file);
    asking.ask("image", () => ({ file, invert: find("invert").checked, ...choices.chosen() }));
  });
  find("invert").addEventListener("change", () => asking.again("image"));
  form.addEventListener("submit", (event) => event.preventDefault());
}

/** Asks for one answer at a time; of what changes meanwhile, only the last is asked for next. */
class Asking {
  constructor(show, say) {
    Object.assign(this, { show, say, kind: null, latest: null, isBusy: false, isDue: false });
  }

  ask(kind, latest) {
    Object.assign(this, { kind, latest });
    this.again();
  }

  again(kind = this.kind) {
    if (!this.latest || kind !== this.kind) return;
    this.isDue = true;
    if (!this.isBusy) this.run();
  }

  forget(kind) {
    if (this.kind !== kind) return;
    Object.assign(this, { kind: null, latest: null, isDue: false });
    this.say("");
    this.show([]);
  }

  async run() {
    this.isBusy = true;
    while (this.isDue) {
      this.isDue = false;
      await this.once(this.kind, this.latest());
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    }
    this.isBusy = false;
  }

  async once(kind, { arms, seed, invert, file }) {
    const body = new FormData();
    body.append("experiment", form.dataset.experiment);
    for (const arm of arms) body.append("arm", arm);
    body.append("seed", seed);
    body.append("kind", kind);
    body.append("invert", invert ? "true" : "false");
    find("answers").classList.add("waiting");
    try {
      body.append("image", await file, "image");
      const response = await fetch("/api/try", { method: "POST", body });
      const told = await response.json();
      if (this.kind === kind) {
        this.say(response.ok ? "" : told.error);
        this.show(response.ok ? told.answers : []);
      }
    } catch (error) {
      this.say("The server does not answer. Is `paribus serve` still running?");
    } finally {
      find("answers").classList.remove("waiting");
    }
  }
}

/** The networks and the seed that are chosen; only seeds that all of them have can be. */
class Choices {
  constructor(changed) {
    [this.arm, this.other, this.seed] = ["arm", "other", "seed"].map(find);
    for (const each of [this.arm, this.other]) each.addEventListener("change", () => (this.update(), changed()));
    this.seed.addEventListener("change", changed);
    this.update();
  }

  update() {
    const seedsOf = (select) => select.selectedOptions[0].dataset.seeds.split(" ").filter(Boolean);
    const others = new Set(seedsOf(this.other));
    const common = seedsOf(this.arm).filter((seed) => !this.other.value || others.has(seed));
    const before = this.seed.value;
    this.seed.replaceChildren(...common.map((seed) => new Option(seed, seed)));
    if (common.includes(before)) this.seed.value = before;
  }

  chosen() {
    const arms = [this.arm.value, this.other.value].filter(Boolean);
    return { arms, seed: this.seed.value };
  }
}

/** A canvas that holds strokes: points of the pointer, drawn as smooth lines. */
class Drawing {
  constructor(canvas, pen, changed) {
    Object.assign(this, { canvas, pen, changed, strokes: [], stroke: null });
    this.context = canvas.getContext("2d");
    this.key = { x: canvas.width / 2, y: canvas.height / 2, isDown: false, isShown: false };
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.end());
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("focus", () => ((this.key.isShown = canvas.matches(":focus-visible")), this.draw()));
    canvas.addEventListener("blur", () => (Object.assign(this.key, { isDown: false, isShown: false }), this.draw()));
    this.draw();
  }

  begin(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.key.isShown = false;
    this.stroke = { id: event.pointerId, points: [] };
    this.strokes.push(this.stroke.points);
    this.add(event);
  }

  move(event) {
    if (this.stroke?.id !== event.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.add(each);
  }

  add(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    const pressure = event.pointerType === "pen" && event.pressure ? 0.5 + event.pressure : 1;
    this.stroke.points.push({
      x: (event.clientX - box.left) * scale,
      y: (event.clientY - box.top) * scale,
      width: this.pen.valueAsNumber * pressure,
    });
    this.update();
  }

  end() {
    this.stroke = null;
  }

  press(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const isUndo = event.key === "Backspace" || (event.key === "z" && (event.ctrlKey || event.metaKey));
    if (moves[event.key]) this.moveKey(...moves[event.key]);
    else if (event.key === " ") this.togglePen();
    else if (isUndo) this.undo();
    else return;
    event.preventDefault();
  }

  moveKey(right, down) {
    const inside = (place, size) => Math.min(Math.max(place, 0), size);
    this.key.isShown = true;
    this.key.x = inside(this.key.x + right * STEP, this.canvas.width);
    this.key.y = inside(this.key.y + down * STEP, this.canvas.height);
    this.addKey();
  }

  togglePen() {
    this.key.isDown = !this.key.isDown;
    this.key.isShown = true;
    if (this.key.isDown) this.strokes.push([]);
    this.addKey();
  }

  addKey() {
    if (!this.key.isDown) return this.draw();
    this.strokes.at(-1).push({ x: this.key.x, y: this.key.y, width: this.pen.valueAsNumber });
    this.update();
  }

  undo() {
    this.strokes.pop();
    this.key.isDown = false;
    this.update();
  }

  clear() {
    this.strokes = [];
    this.key.isDown = false;
    this.update();
  }

  update() {
    this.draw();
    this.changed(this.strokes.length);
  }

  draw() {
    paint(this.context, this.strokes);
    if (!this.key.isShown) return;
    this.context.strokeStyle = this.key.isDown ? "#0a5c8f" : "#6b7280";
    this.context.lineWidth = 3;
    this.context.beginPath();
    this.context.arc(this.key.x, this.key.y, this.pen.valueAsNumber / 2 + 4, 0, 2 * Math.PI);
    this.context.stroke();
  }

  /** A promise of the drawing as a PNG, without the keyboard's pen. */
  file() {
    const copy = document.createElement("canvas");
    copy.width = copy.height = this.canvas.width;
    paint(copy.getContext("2d"), this.strokes);
    return new Promise((resolve) => copy.toBlob(resolve, "image/png"));
  }
}

function paint(context, strokes) {
  context.fillStyle = PAPER;
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.fillStyle = context.strokeStyle = INK;
  context.lineCap = context.lineJoin = "round";
  for (const points of strokes) paintStroke(context, points);
}

/** Curves from middle to middle of neighbouring points, each with its own width. */
function paintStroke(context, points) {
  const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const [first] = points;
  if (points.length === 1) {
    context.beginPath();
    context.arc(first.x, first.y, first.width / 2, 0, 2 * Math.PI);
    context.fill();
  }
  for (let index = 1; index < points.length; index++) {
    const [before, here, after] = [points[index - 1], points[index], points[index + 1] ?? points[index]];
    const [from, to] = [index === 1 ? before : middle(before, here), after === here ? here : middle(here, after)];
    context.lineWidth = here.width;
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.quadraticCurveTo(here.x, here.y, to.x, to.y);
    context.stroke();
  }
}

/** Calls back with each image that is chosen, dropped anywhere on the page, or pasted. */
function takeImages(taken) {
  const drop = find("drop");
  const first = (files) => files?.length && taken(files[0]);
  find("file").addEventListener("change", (event) => {
    first(event.target.files);
    event.target.value = ""; // So that the same file can be chosen again.
  });
  document.addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    first(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => first(event.clipboardData.files));
}

function showThumbnail(file) {
  const image = find("thumbnail");
  URL.revokeObjectURL(image.src);
  image.hidden = false;
  image.onerror = () => (image.hidden = true); // A kind that browsers do not show, or no image.
  image.src = URL.createObjectURL(file);
}

function say(sentence) {
  const message = find("message");
  if (message.textContent !== sentence) message.textContent = sentence;
  message.hidden = !sentence;
}

function show(answers) {
  const place = find("answers");
  while (place.children.length > answers.length) place.lastElementChild.remove();
  while (place.children.length < answers.length) place.append(find("answer").content.cloneNode(true));
  answers.forEach((answer, index) => fill(place.children[index], answer));
  find("spoken").textContent = answers
    .map(({ arm, best }) => `${arm}: ${best.name}, ${percent(best.probability)}`)
    .join("; ");
}

function fill(card, answer) {
  const text = (selector, content) => (card.querySelector(selector).textContent = content);
  text(".arm", `${answer.arm}, seed ${answer.seed}`);
  text(".best .name", answer.best.name);
  text(".best .share", percent(answer.best.probability));
  fillBars(card, answer);
  for (const seen of card.querySelectorAll(".seen")) {
    put(seen, answer.seen);
    seen.classList.toggle("fine", answer.seen.width >= FINE);
  }
  text(".seen-text", `${answer.seen.text}, ${answer.seen.width} x ${answer.seen.height} pixels`);
  const attention = card.querySelector(".attention");
  attention.hidden = card.querySelector(".scale").hidden = !answer.attention;
  if (answer.attention) put(attention, answer.attention);
  text(".attention-text", answer.attention_text);
  card.querySelector(".maps").replaceChildren(...answer.maps.map(figureOf));
  card.querySelector(".notes").replaceChildren(...answer.notes.map((note) => element("li", "", note)));
}

function fillBars(card, { classes, best, is_calibrated }) {
  const isLong = classes.length > MOST_BARS;
  const sorted = isLong ? [...classes].sort((a, b) => b.probability - a.probability) : classes;
  const shown = sorted.slice(0, MOST_BARS);
  card.querySelector(".bars").replaceChildren(...shown.map((each) => bar(each, each.name === best.name)));
  const rest = isLong ? `The other ${classes.length - MOST_BARS} classes are less probable. ` : "";
  const more = card.querySelector(".more");
  more.textContent = rest + (is_calibrated ? "Probabilities are calibrated on val." : "");
  more.hidden = !more.textContent;
}

function bar({ name, probability }, isBest) {
  const row = element("li", isBest ? "best-bar" : "");
  const track = element("span", "track");
  const fill = element("span", "fill");
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  row.append(element("span", "name", name), track, element("span", "share", percent(probability)));
  return row;
}

function figureOf(picture) {
  const figure = element("figure");
  const image = element("img");
  put(image, picture);
  figure.append(image, element("figcaption", "", picture.text));
  return figure;
}

function put(image, { source, width, height, text }) {
  Object.assign(image, { src: source, width, height, alt: text });
}

function element(name, className = "", text = "") {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

function percent(fraction) {
  if (fraction > 0 && fraction < 0.0005) return "< 0.1 %";
  if (fraction < 1 && fraction > 0.9995) return "> 99.9 %";
  return `${(100 * fraction).toFixed(1)} %`;
}

if (form) start();

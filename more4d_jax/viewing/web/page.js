// The page: time, camera and settings of what is drawn.

const $ = id => document.getElementById(id);
const root = document.documentElement;
const metadata = JSON.parse($("more4d-metadata").textContent);
const canvas = $("view"), last = layout.frames - 1;
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const state = {moment: 0, playing: false, swaying: false, changed: true};
let drawing, camera, asked = false, previous = 0;

function describe() {
  const {page} = metadata, number = n => n.toLocaleString("en");
  document.title ||= "4D scene";
  $("prompt").textContent = metadata.prompt || document.title;
  const facts = {
    Frames: `${layout.frames} at ${+layout.fps.toFixed(2)} per second`,
    Points: page.points === page.points_of_scene ? number(page.points)
      : `${number(page.points)} of ${number(page.points_of_scene)}`,
    Picture: `${layout.width} × ${layout.height}`,
    Depth: metadata.depth,
    Seed: metadata.seed,
    Checkpoint: metadata.checkpoint,
  };
  for (const [name, value] of Object.entries(facts)) {
    if (value === undefined || value === null) continue;
    const term = document.createElement("dt");
    const detail = document.createElement("dd");
    [term.textContent, detail.textContent] = [name, value];
    $("facts").append(term, detail);
  }
}

function set(changes) {
  Object.assign(state, changes, {changed: true});
  root.toggleAttribute("data-playing", state.playing);
  $("sway").setAttribute("aria-pressed", state.swaying);
  $("time").value = state.moment;
  const seconds = frame => (frame / layout.fps).toFixed(1);
  $("clock").textContent = `${seconds(state.moment)} / ${seconds(last)} s`;
  if (!asked) {
    asked = true;
    requestAnimationFrame(render);
  }
}

function render(now) {
  asked = false;
  const passed = Math.min((now - previous) / 1000, 0.1);
  previous = now;
  const moving = state.playing || state.swaying;
  if (state.swaying) camera.swayed += passed;
  if (state.playing) {
    const on = state.moment + passed * layout.fps * $("speed").value;
    state.moment = on > last ? on % Math.max(last, 1) : on;
  }
  if (moving || state.changed) {
    resize();
    drawing.draw(Math.min(state.moment, last), camera, +$("size").value);
    root.dataset.frame = state.moment.toFixed(2);
    state.changed = false;
  }
  if (moving) set({});
}

function resize() {
  const scale = Math.min(devicePixelRatio, 2);
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round(canvas.clientHeight * scale));
  if (canvas.width !== width || canvas.height !== height) {
    [canvas.width, canvas.height] = [width, height];
  }
}

/** A person moves the camera: it no longer sways by itself. */
function moved(change) {
  change();
  set({swaying: false});
}

function background(name) {
  root.dataset.background = name;
  for (const id of ["dark", "light"]) {
    $(id).setAttribute("aria-pressed", id === name);
  }
}

function step(frames) {
  const to = Math.round(state.moment) + frames;
  set({playing: false, moment: Math.max(0, Math.min(last, to))});
}

const actions = {
  " ": () => set({playing: !state.playing && last > 0}),
  ",": () => step(-1),
  ".": () => step(1),
  r: () => moved(() => camera.reset()),
  s: () => set({swaying: !state.swaying}),
  b: () => background(root.dataset.background === "dark" ? "light" : "dark"),
  h: () => set({hidden: document.body.classList.toggle("bare")}),
  f: () => document.fullscreenElement ? document.exitFullscreen()
    : $("stage").requestFullscreen(),
  "+": () => moved(() => camera.zoom(1.1)),
  "=": () => moved(() => camera.zoom(1.1)),
  "-": () => moved(() => camera.zoom(1 / 1.1)),
  ArrowLeft: () => moved(() => camera.orbit(-0.05, 0)),
  ArrowRight: () => moved(() => camera.orbit(0.05, 0)),
  ArrowUp: () => moved(() => camera.orbit(0, -0.05)),
  ArrowDown: () => moved(() => camera.orbit(0, 0.05)),
};

function listenToKeys() {
  addEventListener("keydown", event => {
    const inControl = event.target.closest("input, select, summary");
    const onButton = event.target.closest("button") && event.key === " ";
    const action = actions[event.key.length === 1
      ? event.key.toLowerCase() : event.key];
    if (!action || inControl || onButton || event.ctrlKey || event.metaKey
      || event.altKey) return;
    event.preventDefault();
    action();
  });
}

function listenToPointers() {
  const down = new Map();
  const middle = () => {
    const all = [...down.values()], mean = key =>
      all.reduce((sum, at) => sum + at[key], 0) / all.length;
    const [a, b] = all;
    return {x: mean("x"), y: mean("y"),
      spread: b ? Math.hypot(a.x - b.x, a.y - b.y) : 0};
  };
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, {x: event.clientX, y: event.clientY});
  });
  canvas.addEventListener("pointermove", event => {
    if (!down.has(event.pointerId)) return;
    const before = middle();
    down.set(event.pointerId, {x: event.clientX, y: event.clientY});
    const now = middle(), [x, y] = [now.x - before.x, now.y - before.y];
    const pans = down.size > 1 || event.shiftKey || event.buttons & 6;
    moved(() => {
      if (pans) camera.pan(x, y, canvas.clientWidth, canvas.clientHeight);
      else camera.orbit(x * 0.005, y * 0.005);
      if (before.spread) camera.zoom(now.spread / before.spread);
    });
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, event => down.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? 30 : 1);
    moved(() => camera.zoom(Math.exp(-pixels * 0.0012)));
  }, {passive: false});
  canvas.addEventListener("dblclick", actions.r);
  canvas.addEventListener("contextmenu", event => event.preventDefault());
}

function listenToControls() {
  $("play").onclick = actions[" "];
  $("sway").onclick = actions.s;
  $("reset").onclick = actions.r;
  $("full").onclick = actions.f;
  $("full").hidden = !document.fullscreenEnabled;
  $("dark").onclick = () => background("dark");
  $("light").onclick = () => background("light");
  $("time").max = last;
  for (const id of last ? [] : ["play", "time", "clock", "speed"]) {
    $(id).hidden = true;
  }
  $("time").oninput = () => set({playing: false, moment: +$("time").value});
  $("size").oninput = () => set({});
  new ResizeObserver(() => set({})).observe(canvas);
}

async function start() {
  const light = matchMedia("(prefers-color-scheme: light)").matches;
  background(light ? "light" : "dark");
  describe();
  const photograph = $("photograph");
  const [scene] = await Promise.all([readPoints(), photograph.decode()]);
  drawing = new Drawing(canvas, scene, photograph);
  camera = new Camera(scene.place);
  listenToKeys();
  listenToPointers();
  listenToControls();
  set({playing: last > 0 && !calm, swaying: !calm});
  root.dataset.state = "ready";
}

start().catch(error => {
  root.dataset.state = "failed";
  $("message").textContent = `The points cannot be shown: ${error.message}`;
  console.error(error);
});

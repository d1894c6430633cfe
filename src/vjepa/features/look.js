"use strict";
// The page of `vjepa look`. `data` comes from look_page.py; nothing is loaded from elsewhere.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const STEP = data.stepSeconds;
const HEAT = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21],
  [250, 193, 39], [252, 255, 164]];
const MOMENTS = 7; // the present one, and those that are most like it

const videos = data.videos.map((video, number) => {
  const [steps, rows, columns] = video.grid;
  const unpacked = {
    ...video, number, steps, rows, columns, sheetColumns: video.columns, places: rows * columns, seconds: steps * STEP,
    colours: bytesOf(video.colours), foreground: bytesOf(video.foreground), errors: bytesOf(video.errors),
    tokens: new Int8Array(bytesOf(video.tokens).buffer), moments: new Int8Array(bytesOf(video.moments).buffer),
    small: document.createElement("canvas"), canvases: {},
  };
  unpacked.small.width = columns;
  unpacked.small.height = rows;
  unpacked.lengths = lengthsOf(unpacked.tokens);
  unpacked.momentLengths = lengthsOf(unpacked.moments);
  unpacked.sheet = new Image();
  unpacked.sheet.onload = () => { unpacked.sheetReady = true; drawStrip(); drawMoments(); draw(); };
  unpacked.sheet.src = "data:image/jpeg;base64," + video.thumbnails;
  if (video.film) {
    const film = document.createElement("video");
    film.muted = true;
    film.playsInline = true;
    film.preload = "auto";
    // A blob, because some browsers do not seek in a video that is a data address.
    film.src = URL.createObjectURL(new Blob([bytesOf(video.film)], { type: "video/mp4" }));
    for (const event of ["loadeddata", "seeked"]) film.addEventListener(event, () => draw());
    unpacked.film = film;
  }
  return unpacked;
});
let ready = false; // pictures may arrive before the page is built
const longest = Math.max(...videos.map((video) => video.seconds));
const several = videos.length > 1;
const last = videos.find((video) => video.seconds === longest); // the clock is that of the video that ends last
const state = {
  time: 0, playing: false, speed: 1, view: "all",
  video: 0, step: Math.floor(videos[0].steps / 2), row: videos[0].patch[0], column: videos[0].patch[1],
};

// Numbers

function lengthsOf(vectors) {
  const k = data.vector;
  const lengths = new Float32Array(vectors.length / k);
  for (let i = 0; i < lengths.length; i++) {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += vectors[i * k + j] ** 2;
    lengths[i] = Math.sqrt(sum) || 1;
  }
  return lengths;
}

// Cosines of all vectors with the one at `place` of another list.
function cosines(vectors, lengths, others, otherLengths, place) {
  const k = data.vector;
  const from = place * k;
  const result = new Float32Array(lengths.length);
  for (let i = 0; i < result.length; i++) {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += vectors[i * k + j] * others[from + j];
    result[i] = sum / (lengths[i] * otherLengths[place]);
  }
  return result;
}

const clampStep = (video, step) => Math.min(Math.max(step, 0), video.steps - 1);
const stepAt = (video, time) => clampStep(video, Math.floor(time / STEP + 1e-6));
const clock = (seconds) => (seconds < 60 ? `${seconds.toFixed(1)} s`
  : `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")} min`);

// Seconds of a video at the present moment. Windows may be left out, so they are not always the slider's.
function secondsOf(video) {
  const step = stepAt(video, state.time);
  if (state.time >= video.seconds) return video.starts[0] + video.duration; // a rest shorter than a step is not shown
  return video.starts[step] + Math.min(Math.max(state.time - step * STEP, 0), STEP);
}

// The two steps between whose middles a moment lies, and how far it is towards the second.
function between(video, time) {
  const place = time / STEP - 0.5;
  const first = clampStep(video, Math.floor(place));
  const second = clampStep(video, first + 1);
  const follows = Math.abs(video.starts[second] - video.starts[first] - STEP) < STEP / 2;
  const share = Math.min(Math.max(place - first, 0), 1);
  return follows ? [first, second, share] : [stepAt(video, time), stepAt(video, time), 0];
}

function heatOf(value) {
  const place = Math.min(Math.max(value, 0), 1) * (HEAT.length - 1);
  const low = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[low].map((part, i) => part + (HEAT[low + 1][i] - part) * (place - low));
}

// Drawing

// Paint one colour a token into the small canvas, and that smoothly enlarged into a box, else over everything.
function paintTokens(video, context, colourOf, ...box) {
  const pixels = new ImageData(video.columns, video.rows);
  for (let i = 0; i < video.places; i++) pixels.data.set(colourOf(i), 4 * i);
  video.small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(video.small, ...(box.length ? box : [0, 0, context.canvas.width, context.canvas.height]));
}

function paintFilm(video, context) {
  const { width, height } = context.canvas;
  if (video.film && video.film.readyState >= 2) {
    context.drawImage(video.film, 0, 0, width, height);
  } else if (video.sheetReady) {
    // Before the film is there, or where the browser cannot play it.
    paintThumbnail(video, context, stepAt(video, state.time), 0, 0, width, height);
  }
}

function paintThumbnail(video, context, step, x, y, width, height) {
  const across = video.sheetColumns;
  const w = video.sheet.naturalWidth / across;
  const h = video.sheet.naturalHeight / Math.ceil(video.steps / across);
  context.drawImage(video.sheet, (step % across) * w, Math.floor(step / across) * h, w, h, x, y, width, height);
}

function paintGreyFilm(video, context, brightness) {
  context.filter = `grayscale(1) brightness(${brightness})`;
  paintFilm(video, context);
  context.filter = "none";
}

const painters = {
  video(video, context) {
    paintFilm(video, context);
    paintPatch(video, context);
  },
  colours(video, context) {
    const [first, second, share] = between(video, state.time);
    const foreground = state.view === "foreground";
    if (foreground) paintGreyFilm(video, context, 0.4);
    const blend = (values, i) => values[first * values.stride + i] * (1 - share)
      + values[second * values.stride + i] * share;
    video.colours.stride = 3 * video.places;
    video.foreground.stride = video.places;
    paintTokens(video, context, (i) => [
      blend(video.colours, 3 * i), blend(video.colours, 3 * i + 1), blend(video.colours, 3 * i + 2),
      foreground ? blend(video.foreground, i) : 255]);
  },
  similar(video, context) {
    const [first, second, share] = between(video, state.time);
    paintGreyFilm(video, context, 0.45);
    context.globalCompositeOperation = "lighter";
    paintTokens(video, context, (i) => {
      const cosine = video.cosines[first * video.places + i] * (1 - share)
        + video.cosines[second * video.places + i] * share;
      return [...heatOf(cosine), 255];
    });
    context.globalCompositeOperation = "source-over";
    paintPatch(video, context);
  },
  errors(video, context) {
    const step = stepAt(video, state.time);
    if (!video.predicted.length || video.predicted[step] === null) {
      paintFilm(video, context);
      return paintLabel(context, video.predicted.length ? "seen by the encoder" : "no prediction");
    }
    paintGreyFilm(video, context, 0.45);
    context.globalCompositeOperation = "lighter";
    paintTokens(video, context, (i) => [...heatOf(video.errors[step * video.places + i] / 255), 255]);
    context.globalCompositeOperation = "source-over";
    paintLabel(context, "hidden from the encoder");
  },
};

function paintLabel(context, text) {
  const size = Math.max(11 * devicePixelRatio, Math.min(context.canvas.height / 22, context.canvas.width / 24));
  context.font = `600 ${size}px system-ui, sans-serif`;
  const width = context.measureText(text).width;
  context.fillStyle = "rgba(0, 0, 0, .62)";
  context.fillRect(size * 0.6, size * 0.6, width + size, size * 1.7);
  context.fillStyle = "#fff";
  context.fillText(text, size * 1.1, size * 1.8);
}

// The clicked patch: solid at its own moment, thin at others.
function paintPatch(video, context) {
  if (video.number !== state.video) return;
  const w = context.canvas.width / video.columns;
  const h = context.canvas.height / video.rows;
  const now = stepAt(video, state.time) === state.step;
  for (const [colour, extra] of [["rgba(0, 0, 0, .8)", 2], ["#fff", 0]]) {
    context.strokeStyle = colour;
    context.lineWidth = (now ? 2.5 : 1) * devicePixelRatio + extra;
    context.strokeRect(state.column * w - 1, state.row * h - 1, w + 2, h + 2);
  }
}

function draw() {
  if (!ready) return;
  for (const video of videos) {
    for (const [kind, canvas] of Object.entries(video.canvases)) {
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, canvas.width, canvas.height);
      painters[kind](video, context);
    }
  }
}

function fit(canvas, height) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.max(Math.round(canvas.clientWidth * ratio), 1);
  canvas.height = Math.max(Math.round(height * ratio), 1);
  return canvas.getContext("2d");
}

function resize() {
  for (const video of videos) {
    for (const canvas of Object.values(video.canvases)) {
      fit(canvas, canvas.clientWidth * video.size[0] / video.size[1]);
    }
  }
  drawStrip();
  drawCurve();
  draw();
}

// Pictures above, their tokens' colours below, from the first moment to the last.
function drawStrip() {
  if (!ready) return;
  const video = videos[state.video];
  const canvas = byId("strip");
  const context = fit(canvas, 62);
  const { width, height } = canvas;
  const end = width * video.seconds / longest;
  context.fillStyle = "rgba(128, 128, 128, .15)"; // after the end of this video, where another one is longer
  context.fillRect(end, 0, width - end, height);
  const high = (height - 2) / 2;
  const fitting = Math.max(Math.floor(end / (high * video.size[1] / video.size[0])), 1);
  for (let i = 0; i < fitting && video.sheetReady; i++) {
    const step = clampStep(video, Math.floor((i + 0.5) / fitting * video.steps));
    const box = [i * end / fitting, end / fitting + 1];
    paintThumbnail(video, context, step, box[0], 0, box[1], high);
    const from = 3 * step * video.places;
    paintTokens(video, context, (j) => [...video.colours.subarray(from + 3 * j, from + 3 * j + 3), 255],
      box[0], high + 2, box[1], high);
  }
}

function drawCurve() {
  if (byId("curve-card").hidden) return;
  tellCurve();
  if (byId("curve").hidden) return;
  const canvas = byId("curve");
  const context = fit(canvas, 220);
  const ratio = devicePixelRatio || 1;
  const ink = getComputedStyle(document.documentElement);
  const colour = (name) => ink.getPropertyValue(name).trim();
  const video = videos[state.video];
  const box = { left: 46 * ratio, top: 8 * ratio, right: canvas.width - 8 * ratio, bottom: canvas.height - 40 * ratio };
  const known = [...video.predicted, ...video.unchanged].filter((value) => value !== null);
  const most = Math.max(...known, 1e-6) * 1.08;
  const x = (step) => box.left + step / video.steps * (box.right - box.left);
  const y = (value) => box.bottom - value / most * (box.bottom - box.top);

  context.fillStyle = colour("--shade");
  video.predicted.forEach((value, step) => {
    const [from, to] = [Math.round(x(step)), Math.round(x(step + 1))];
    if (value === null) context.fillRect(from, box.top, to - from, box.bottom - box.top);
  });
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.fillStyle = colour("--soft");
  context.strokeStyle = colour("--line");
  context.lineWidth = ratio;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const tick = [0.02, 0.05, 0.1, 0.2, 0.5, 1].find((size) => most / size <= 5) || 1;
  for (let value = 0; value < most; value += tick) {
    context.fillText(value.toFixed(2), box.left - 8 * ratio, y(value));
    context.beginPath();
    context.moveTo(box.left, y(value));
    context.lineTo(box.right, y(value));
    context.stroke();
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  const labels = Math.min(video.steps, Math.max(Math.floor((box.right - box.left) / (90 * ratio)), 2));
  for (let step = 0; step < video.steps; step += Math.ceil(video.steps / labels)) {
    context.fillText(clock(video.starts[step]), x(step), box.bottom + 6 * ratio);
  }
  context.fillText("time in the video; error: L1 per channel of a token", (box.left + box.right) / 2, box.bottom + 23 * ratio);

  const line = (values, name) => {
    context.strokeStyle = context.fillStyle = colour(name);
    context.lineWidth = 2 * ratio;
    context.beginPath();
    let open = false;
    values.forEach((value, step) => {
      if (value === null) { open = false; return; }
      if (open) context.lineTo(x(step + 0.5), y(value)); else context.moveTo(x(step + 0.5), y(value));
      open = true;
    });
    context.stroke();
    values.forEach((value, step) => {
      if (value === null) return;
      context.beginPath();
      context.arc(x(step + 0.5), y(value), 3.5 * ratio, 0, 7);
      context.fill();
    });
  };
  line(video.unchanged, "--chance");
  line(video.predicted, "--ours");
  context.strokeStyle = colour("--ink");
  context.lineWidth = 1.5 * ratio;
  const now = box.left + Math.min(state.time / video.seconds, 1) * (box.right - box.left);
  context.beginPath();
  context.moveTo(now, box.top);
  context.lineTo(now, box.bottom);
  context.stroke();
}

// Words and thumbnails

function compareWithPatch() {
  const own = videos[state.video];
  const place = state.step * own.places + state.row * own.columns + state.column;
  let alike = 0;
  let all = 0;
  for (const video of videos) {
    video.cosines = cosines(video.tokens, video.lengths, own.tokens, own.lengths, place);
    for (const cosine of video.cosines) alike += cosine > 0.5;
    all += video.cosines.length;
  }
  const share = 100 * alike / all;
  const where = several ? ` of ${own.name}` : "";
  byId("similar-words").textContent = `The patch in row ${state.row + 1}, column ${state.column + 1}${where} at `
    + `${clock(own.starts[state.step])}. ${share.toFixed(share < 10 ? 1 : 0)}% of all patches, at all moments, have `
    + "a cosine above 0.5 with it. Click another one in any picture.";
}

let shownMoment = "";
function drawMoments() {
  if (!ready) return;
  const own = videos[state.video];
  const step = stepAt(own, state.time);
  const key = [state.video, step, ...videos.map((video) => video.sheetReady)].join(" ");
  if (key === shownMoment) return;
  shownMoment = key;
  const found = [];
  for (const video of videos) {
    const values = cosines(video.moments, video.momentLengths, own.moments, own.momentLengths, step);
    values.forEach((cosine, at) => found.push({ video, at, cosine }));
  }
  found.sort((a, b) => b.cosine - a.cosine);
  // Moments next to each other are nearly the same, so only the best of a window's length is shown.
  const near = (a, b) => a.video === b.video && Math.abs(a.video.starts[a.at] - a.video.starts[b.at]) < data.windowSeconds / 2;
  const chosen = [{ video: own, at: step, cosine: 1 }];
  for (const one of found) {
    if (chosen.length < MOMENTS && one.cosine > 0 && !chosen.some((other) => near(one, other))) chosen.push(one);
  }
  byId("moments-words").textContent = chosen.length > 1
    ? "The mean of all tokens of this moment, compared with every other moment. Click one to go there."
    : "No other moment is similar to this one, except its neighbours.";
  const box = byId("moments");
  box.replaceChildren(...chosen.map(({ video, at, cosine }, i) => {
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    canvas.height = 168;
    canvas.width = Math.round(canvas.height * video.size[1] / video.size[0]);
    if (video.sheetReady) paintThumbnail(video, canvas.getContext("2d"), at, 0, 0, canvas.width, canvas.height);
    const words = document.createElement("span");
    const bold = document.createElement("b");
    bold.textContent = i ? `cosine ${cosine.toFixed(2)}` : "now";
    words.append(bold, document.createElement("br"), `at ${clock(video.starts[at])}`);
    button.type = "button";
    button.append(canvas, words);
    if (several) {
      const name = document.createElement("span");
      name.textContent = video.name;
      button.append(name);
    }
    button.onclick = () => { state.video = video.number; drawStrip(); seek(at * STEP + STEP / 2); };
    return button;
  }));
}

function tellTime() {
  const video = videos[state.video];
  const step = stepAt(video, state.time);
  byId("time").textContent = `${clock(secondsOf(last))} of ${clock(last.starts[0] + last.duration)}`;
  byId("slider").value = state.time;
  for (const element of document.querySelectorAll(".whose")) element.textContent = several ? video.name : "";
  const over = state.time >= video.seconds && video.seconds < longest && !video.still;
  byId("strip-name").textContent = `${video.name}${over ? ", has ended" : ""}`;
  const error = video.predicted[step];
  byId("errors-words").textContent = error === undefined ? "" : error === null
    ? "The encoder sees this moment. Play on: the later part of each window is hidden, and predicted."
    : `The encoder does not see this moment. Mean error of the prediction: ${error.toFixed(3)}; `
      + `if nothing changed: ${video.unchanged[step].toFixed(3)}.`;
}

function tellCurve() {
  const video = videos[state.video];
  const mean = (key) => {
    const values = video[key].filter((value) => value !== null);
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  byId("curve").hidden = !video.predicted.length;
  if (!video.predicted.length) {
    byId("curve-words").textContent = "Nothing of it was predicted, because it is too short.";
    return;
  }
  const ours = mean("predicted");
  const baseline = mean("unchanged");
  const verdict = ours < baseline ? "The predictor is better than the baseline here"
    : "The predictor is not better than the baseline here";
  byId("curve-words").textContent = `${verdict}: its mean error is ${ours.toFixed(3)}, that of "nothing changes" `
    + `${baseline.toFixed(3)}. The lines are high where something unforeseen happens. Click to go there.`;
}

// What a user does

function seek(time) {
  state.time = Math.min(Math.max(time, 0), longest);
  for (const video of videos) if (video.film) video.film.currentTime = Math.min(state.time, video.seconds - 0.01);
  update();
}

function update() {
  tellTime();
  drawMoments();
  drawCurve();
  draw();
}

function play(playing) {
  state.playing = playing;
  byId("play").textContent = playing ? "❚❚" : "▶";
  if (playing && state.time >= longest - 0.05) seek(0);
  for (const { film, seconds } of videos) {
    if (!film) continue;
    film.playbackRate = state.speed;
    if (playing && state.time < seconds) film.play().catch(() => {}); else film.pause();
  }
  if (playing) { before = performance.now(); requestAnimationFrame(tick); } else writeHash();
}

let before = 0;
function tick(now) {
  if (!state.playing) return;
  state.time += (now - before) / 1000 * state.speed;
  before = now;
  if (state.time >= longest) { seek(0); play(true); return; }
  for (const { film, seconds } of videos) {
    if (!film) continue;
    if (state.time >= seconds) {
      if (!film.paused) { film.pause(); film.currentTime = seconds - 0.01; } // its last frame stays
    } else if (Math.abs(film.currentTime - state.time) > 0.2) film.currentTime = state.time;
  }
  update();
  requestAnimationFrame(tick);
}

function choosePatch(video, event) {
  const box = event.currentTarget.getBoundingClientRect();
  state.video = video.number;
  state.step = stepAt(video, state.time);
  state.row = Math.min(Math.max(Math.floor((event.clientY - box.top) / box.height * video.rows), 0), video.rows - 1);
  state.column = Math.min(Math.max(Math.floor((event.clientX - box.left) / box.width * video.columns), 0), video.columns - 1);
  compareWithPatch();
  drawStrip();
  update();
  writeHash();
}

function setView(view) {
  state.view = view;
  for (const button of byId("view").children) button.setAttribute("aria-pressed", button.dataset.view === view);
  byId("colours-words").textContent = view === "all"
    ? "Patches of equal colour look alike to the encoder. It learned without labels."
    : "The same colours where the encoder sees foreground: one component, above one threshold. The rest is grey.";
  draw();
}

// A link such as #t=3.2&video=0&patch=12,20&view=foreground&theme=dark leads to a moment and a patch.
function readHash() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const number = (text, most) => Math.min(Math.max(Math.floor(Number(text)) || 0, 0), most);
  if (wanted.has("theme")) document.documentElement.dataset.theme = wanted.get("theme");
  if (wanted.has("video")) state.video = number(wanted.get("video"), videos.length - 1);
  const video = videos[state.video];
  if (wanted.has("t")) {
    const seconds = Number(wanted.get("t")) || 0;
    const after = video.starts.findIndex((start) => start + STEP > seconds + 1e-6);
    const step = after < 0 ? video.steps - 1 : after;
    state.step = step;
    state.time = step * STEP + Math.min(Math.max(seconds - video.starts[step], 0), STEP * 0.999);
  } else {
    state.step = clampStep(video, state.step);
    state.time = (state.step + 0.5) * STEP;
  }
  const [row, column] = wanted.has("patch") ? wanted.get("patch").split(",") : video.patch;
  state.row = number(row, video.rows - 1);
  state.column = number(column, video.columns - 1);
  setView(wanted.get("view") === "foreground" ? "foreground" : "all");
}

function writeHash() {
  const video = videos[state.video];
  const seconds = video.starts[stepAt(video, state.time)] + state.time % STEP;
  const view = state.view === "all" ? "" : "&view=foreground";
  const hash = `#t=${seconds.toFixed(1)}&video=${state.video}&patch=${state.row},${state.column}${view}`;
  history.replaceState(null, "", hash);
}

// The page's parts

function build() {
  const hasErrors = videos.some((video) => video.predicted.length);
  byId("panels").classList.toggle("several", several);
  byId("panels").classList.toggle("three", videos.length === 1 && !hasErrors);
  for (const section of document.querySelectorAll(".panel")) {
    const kind = section.dataset.kind;
    if (kind === "errors" && !hasErrors) { section.hidden = true; continue; }
    for (const video of videos) {
      const figure = document.createElement("figure");
      figure.style.flexGrow = video.size[1] / video.size[0]; // all pictures of a row are equally high
      if (several) {
        const caption = document.createElement("figcaption");
        caption.textContent = video.name;
        figure.append(caption);
      }
      const canvas = document.createElement("canvas");
      canvas.setAttribute("aria-label", `${kind} of ${video.name}`);
      canvas.addEventListener("click", (event) => choosePatch(video, event));
      figure.append(canvas);
      section.querySelector(".row").append(figure);
      video.canvases[kind] = canvas;
    }
  }
  byId("curve-card").hidden = !hasErrors;
  // Within one window all moments are near each other, and would not be shown.
  byId("moments-card").hidden = !several && videos[0].starts.at(-1) - videos[0].starts[0] < data.windowSeconds;
  byId("strip-name").hidden = !several;
  byId("controls").hidden = videos.every((video) => video.still);
  byId("most-error").textContent = data.mostError.toFixed(2);
  const weights = data.card.find(([what]) => what === "Weights");
  byId("lead").textContent = `${videos.map((video) => video.name).join(", ")}. Weights: ${weights[1]}`;
  byId("card").replaceChildren(...data.card.map(([what, value]) => {
    const row = document.createElement("tr");
    row.insertCell().textContent = what;
    row.insertCell().textContent = value;
    return row;
  }));
  byId("notes").replaceChildren(...data.notes.map((note) => {
    const item = document.createElement("li");
    item.textContent = note;
    return item;
  }));
}

function listen() {
  byId("slider").max = longest;
  byId("slider").oninput = (event) => { play(false); seek(Number(event.target.value)); };
  byId("slider").onchange = writeHash;
  byId("play").onclick = () => play(!state.playing);
  byId("speed").onchange = (event) => {
    state.speed = Number(event.target.value);
    if (state.playing) play(true);
  };
  byId("view").onclick = (event) => event.target.dataset.view && setView(event.target.dataset.view);
  byId("theme").onclick = () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim() === "#121316";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    drawCurve();
  };
  byId("curve").onclick = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const video = videos[state.video];
    seek((event.clientX - box.left - 46) / (box.width - 54) * video.seconds);
  };
  document.onkeydown = (event) => {
    if (["SELECT", "BUTTON", "INPUT"].includes(event.target.tagName)) return;
    if (event.key === " ") { event.preventDefault(); play(!state.playing); }
    if (event.key === "ArrowRight") seek(state.time + STEP);
    if (event.key === "ArrowLeft") seek(state.time - STEP);
  };
  addEventListener("resize", resize);
  addEventListener("hashchange", () => { readHash(); compareWithPatch(); seek(state.time); drawStrip(); });
  matchMedia("(prefers-color-scheme: dark)").onchange = drawCurve;
}

build();
listen();
readHash();
compareWithPatch();
ready = true;
resize();
seek(state.time);

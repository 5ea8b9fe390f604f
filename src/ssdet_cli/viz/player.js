"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const [video, timeline, over, playhead, hint, list, now] =
    ["video", "timeline", "over", "playhead", "hint", "list", "now"].map(find);
  const length = data.end - data.begin, step = length < 60 ? 0.1 : 1;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const curves = data.rows.map((row) => new DataView(bytes(row.mean).buffer));
  // The place of the page itself, for videos that a browser cannot play: the timeline works without them.
  let place = data.begin;

  function clock(seconds, fine) {
    const tenths = Math.round(Math.max(0, seconds) * (fine < 1 ? 10 : 1));
    const whole = fine < 1 ? Math.floor(tenths / 10) : tenths;
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    const text = hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
    return fine < 1 ? `${text}.${tenths % 10}` : text;
  }

  const plays = () => video && video.readyState > 0 && !video.error;
  // The overlay stands in for a video that cannot be played. It is of the scored part alone, and begins there.
  const overlay = video && video.querySelector("source[data-begin]");
  const overlaid = () => overlay && video.currentSrc === overlay.src;
  const begins = () => (overlaid() ? Number(overlay.dataset.begin) : 0);
  const time = () => (plays() ? video.currentTime + begins() : place);
  const active = (seconds) => data.segments.filter((item) => item[1] <= seconds && seconds < item[2]);
  const color = (label) => data.colors[label] || "#8e98a8";

  function seek(seconds) {
    place = Math.min(Math.max(seconds, data.begin), data.end);
    if (video) video.currentTime = Math.max(place - begins(), 0);
    show();
  }

  function score(row, seconds) {
    const count = curves[row].byteLength / 2, bin = Math.floor(((seconds - data.begin) / length) * count);
    const value = curves[row].getUint16(2 * Math.min(Math.max(bin, 0), count - 1), true);
    return value === 65535 ? null : value / 65534;
  }

  const buttons = data.segments.map(([label, start, end, mean]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.style.setProperty("--color", color(label));
    const words = [`${clock(start, 0.1)} – ${clock(end, 0.1)}`, data.classes[label], mean.toFixed(2)];
    for (const word of words) button.appendChild(document.createElement("span")).textContent = word;
    button.addEventListener("click", () => seek(start));
    return list.appendChild(button);
  });

  let shown = "";
  function show() {
    const seconds = time();
    playhead.style.left = `${Math.min(Math.max(((seconds - data.begin) / length) * 100, 0), 100)}%`;
    find("clock").textContent = clock(seconds, 0.1);
    timeline.setAttribute("aria-valuenow", seconds.toFixed(1));
    const on = active(seconds), labels = on.map((item) => item[0]);
    timeline.setAttribute("aria-valuetext",
      `${clock(seconds, step)}, ${labels.map((label) => data.classes[label]).join(", ") || "no action"}`);
    document.querySelectorAll(".name").forEach((name, row) => {
      name.classList.toggle("on", labels.includes(data.rows[row].label));
      const value = score(row, seconds);
      name.querySelector("output").textContent = value === null ? "–" : value.toFixed(2);
    });
    const key = on.map((item) => item.join()).join(";");
    if (key === shown) return;
    shown = key;
    buttons.forEach((button, index) => {
      if (on.includes(data.segments[index])) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    now.replaceChildren(...on.map(describe));
    find("none").hidden = on.length > 0;
  }

  function describe([label, , , mean]) {
    const item = document.createElement("li"), bar = document.createElement("i");
    item.style.setProperty("--color", color(label));
    item.appendChild(document.createElement("span")).textContent = data.classes[label];
    item.appendChild(document.createElement("b")).textContent = mean.toFixed(2);
    bar.style.width = `${Math.min(Math.max(mean, 0.02), 1) * 100}%`;
    item.appendChild(bar);
    return item;
  }

  function under(event) {
    const box = over.getBoundingClientRect();
    return data.begin + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * length;
  }

  // A segment under the pointer, or one that is too short to be hit, of the row that the pointer is in.
  function hit(event) {
    const lane = event.target.closest(".lane");
    if (!lane) return null;
    const label = Number(lane.dataset.label), seconds = under(event);
    const slack = (3 / over.clientWidth) * length;
    return data.segments.find((item) => item[0] === label && item[1] - slack <= seconds && seconds < item[2] + slack);
  }

  let dragging = false;
  timeline.addEventListener("pointerdown", (event) => {
    if (event.button || event.clientX < over.getBoundingClientRect().left) return;
    const found = hit(event);
    seek(found ? found[1] : under(event));
    dragging = true;
  });
  window.addEventListener("pointerup", () => { dragging = false; });
  timeline.addEventListener("pointermove", (event) => {
    const seconds = under(event), found = hit(event);
    if (dragging && event.buttons & 1 && Math.hypot(event.movementX, event.movementY) > 0) seek(seconds);
    hint.hidden = event.clientX < over.getBoundingClientRect().left;
    hint.style.left = `${((seconds - data.begin) / length) * 100}%`;
    hint.textContent = clock(seconds, 0.1) + (found
      ? ` · ${data.classes[found[0]]} ${clock(found[1], 0.1)} – ${clock(found[2], 0.1)}, ${found[3].toFixed(2)}` : "");
  });
  timeline.addEventListener("pointerleave", () => { hint.hidden = true; });

  const starts = [...new Set(data.segments.map((item) => item[1]))].sort((a, b) => a - b);
  const keys = {
    ArrowRight: () => time() + Math.max(step, length / 500), ArrowLeft: () => time() - Math.max(step, length / 500),
    Home: () => data.begin, End: () => data.end,
    PageDown: () => starts.find((start) => start > time() + 0.05) ?? data.end,
    PageUp: () => starts.findLast((start) => start < time() - 0.5) ?? data.begin,
  };
  keys.ArrowUp = keys.ArrowRight;
  keys.ArrowDown = keys.ArrowLeft;
  timeline.addEventListener("keydown", (event) => {
    if (event.key === " " && plays()) video.paused ? video.play() : video.pause();
    else if (event.key in keys) seek(keys[event.key]());
    else return;
    event.preventDefault();
  });
  for (const [name, value] of Object.entries({ role: "slider", tabindex: "0", "aria-label": "Place in the video",
    "aria-valuemin": data.begin, "aria-valuemax": data.end })) timeline.setAttribute(name, value);

  if (video) {
    const tell = (fails) => {
      find("unplayable").hidden = !fails;
      if (overlay) find("overlaid").hidden = fails || !overlaid();
    };
    // A browser tries the next source by itself where it knows at once that it cannot play one, and only there.
    const standIn = () => {
      if (!overlay || overlaid()) return false;
      video.querySelectorAll("source").forEach((source) => { if (source !== overlay) source.remove(); });
      video.load();
      return true;
    };
    const noSource = () => { if (video.networkState === HTMLMediaElement.NETWORK_NO_SOURCE) tell(true); };
    video.querySelectorAll("source").forEach((source) => source.addEventListener("error", () => setTimeout(noSource)));
    window.addEventListener("load", noSource);
    video.addEventListener("error", () => { if (!standIn()) tell(true); });
    // A codec that is not known leaves the sound or an empty picture.
    video.addEventListener("loadedmetadata", () => {
      if (!video.videoWidth && standIn()) return;
      tell(!video.videoWidth);
      seek(place);
    });
    for (const event of ["timeupdate", "seeking", "pause"]) video.addEventListener(event, show);
    const follow = () => { show(); if (!video.paused && !video.ended) requestAnimationFrame(follow); };
    video.addEventListener("play", follow);
  }
  document.querySelectorAll(".scripted").forEach((part) => { part.hidden = false; });
  show();
})();

"use strict";
// Line charts on a canvas: zoom, pan, values under the pointer, log axes, smoothing, and all of it by keyboard.
const mltrackCharts = (() => {
  const { Line, make, number, whole, duration, scale, ticks, search } = mltrackLines;
  const PAD = { left: 58, right: 12, top: 10, bottom: 26 };
  const NEAR_PX = 4;
  const TIP_ROWS = 10;

  class Chart {
    // `look`: { settings: {x, logX, logY, smoothing, hidden, marked}, palette: {light, dark, dashes} }
    constructor(host, packed, look) {
      Object.assign(this, { host, packed, look, key: packed.key, lines: null, zoom: null, cursor: null, chosen: 0 });
      this.build();
      new ResizeObserver(() => this.draw()).observe(this.area);
      new IntersectionObserver((seen) => {
        this.seen = seen.some((one) => one.isIntersecting);
        if (this.seen && this.stale) this.draw();
      }, { rootMargin: "300px" }).observe(this.host);
    }

    build() {
      const head = make("div", "chart-head");
      head.append(make("h3", "", this.key));
      const tools = make("div", "chart-tools");
      const button = (sign, name, act) => {
        const made = make("button", "tool", sign);
        made.type = "button";
        made.title = name;
        made.setAttribute("aria-label", `${name}: ${this.key}`);
        made.addEventListener("click", act);
        tools.append(made);
        return made;
      };
      button("+", "Zoom in", () => this.zoomBy(0.5));
      button("−", "Zoom out", () => this.zoomBy(2));
      button("⟲", "Show all", () => this.reset());
      const wide = button("⤢", "Enlarge", () => {
        const on = this.host.classList.toggle("wide");
        wide.setAttribute("aria-pressed", String(on));
      });
      wide.setAttribute("aria-pressed", "false");
      head.append(tools);
      this.area = make("div", "chart-area");
      this.area.tabIndex = 0;
      this.area.setAttribute("role", "application");
      this.area.setAttribute("aria-roledescription", "chart");
      this.area.setAttribute("aria-label", `${this.key}, ${this.packed.curves.length} ${this.packed.curves.length === 1 ? "run" : "runs"}. Left and right move the `
        + "cursor, up and down choose a run, plus and minus zoom, page keys pan, 0 shows all.");
      this.canvas = make("canvas");
      this.over = make("canvas", "over");
      this.tip = make("div", "tip");
      this.tip.hidden = true;
      this.area.append(this.canvas, this.over, this.tip);
      this.said = make("p", "sr");
      this.said.setAttribute("aria-live", "polite");
      this.note = make("p", "chart-note");
      this.host.append(head, this.area, this.note, this.said);
      this.area.addEventListener("pointerdown", (event) => this.press(event));
      this.area.addEventListener("pointermove", (event) => this.move(event));
      this.area.addEventListener("pointerup", (event) => this.release(event));
      this.area.addEventListener("pointercancel", () => { this.drag = null; this.drawOver(); });
      this.area.addEventListener("pointerleave", (event) => {
        if (!this.drag && event.pointerType !== "touch") this.leave();  // what a finger touched stays
      });
      this.area.addEventListener("dblclick", () => this.reset());
      this.area.addEventListener("blur", () => this.leave());
      this.area.addEventListener("keydown", (event) => this.keyed(event));
      this.area.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    }

    shown() {
      this.lines ??= this.packed.curves.map((one) => new Line(one));
      const { hidden, x } = this.look.settings;
      return this.lines.filter((line) => !hidden.has(line.run)).map((line) => line.along(x));
    }

    colour(line) {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const colours = dark ? this.look.palette.dark : this.look.palette.light;
      return colours[line.look % colours.length];
    }
    dash(line) {
      const { light, dashes } = this.look.palette;
      return dashes[Math.floor(line.look / light.length) % dashes.length];
    }

    // --- scales ---

    whole() {  // the range of all points along x
      const { x, logX } = this.look.settings;
      let low = Infinity, high = -Infinity;
      for (const line of this.shown()) {
        const column = line[x];
        if (!column.length) continue;
        const first = logX ? column[Math.min(search(column, Number.MIN_VALUE), column.length - 1)] : column[0];
        low = Math.min(low, first);
        high = Math.max(high, column[column.length - 1]);
      }
      if (!(low <= high) || (logX && !(low > 0))) return logX ? [1, 10] : [0, 1];
      return low === high ? (logX ? [low / 2, high * 2] : [low - 0.5, high + 0.5]) : [low, high];
    }

    scales() {
      const width = this.area.clientWidth, height = this.area.clientHeight;
      const { x: units, logX, logY, smoothing } = this.look.settings;
      const [left, right] = this.zoom?.x ?? this.whole();
      let [low, high] = this.zoom?.y ?? [Infinity, -Infinity];
      if (!this.zoom?.y) {
        for (const line of this.shown()) {
          const column = line[units], soft = line.smooth(smoothing);
          for (let at = search(column, left); at < column.length && column[at] <= right; at++) {
            for (const value of [line.values[at], soft[at]]) {
              if (!Number.isFinite(value) || (logY && value <= 0)) continue;
              if (value < low) low = value;
              if (value > high) high = value;
            }
          }
        }
        if (!(low <= high)) [low, high] = logY ? [1, 10] : [0, 1];
        if (logY) {
          const room = (high / low) ** 0.05;
          [low, high] = low === high ? [low / 2, high * 2] : [low / room, high * room];
        } else {
          const room = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * 0.05;
          [low, high] = [low - room, high + room];
        }
      }
      return {
        x: scale(left, right, PAD.left, width - PAD.right, logX),
        y: scale(low, high, height - PAD.bottom, PAD.top, logY),
        width, height,
      };
    }

    // --- drawing ---

    draw() {
      if (!this.seen) { this.stale = true; return; }
      this.stale = false;
      const scales = this.scales();
      if (!scales.width) return;
      this.scaled = scales;
      const pen = this.prepare(this.canvas, scales);
      this.drawAxes(pen, scales);
      pen.save();
      pen.beginPath();
      pen.rect(PAD.left, 0, scales.width - PAD.left - PAD.right + 1, scales.height - PAD.bottom);
      pen.clip();
      const { marked } = this.look.settings;
      const lines = this.shown();
      for (const line of lines.filter((one) => one.run !== marked)) this.drawLine(pen, line, scales, marked ? 0.2 : 1);
      for (const line of lines.filter((one) => one.run === marked)) this.drawLine(pen, line, scales, 1);
      pen.restore();
      const points = lines.reduce((sum, line) => sum + line.values.length, 0);
      const all = lines.reduce((sum, line) => sum + line.count, 0);
      this.note.textContent = all > points
        ? `${whole(points)} of ${whole(all)} points; the least and the greatest of each part are kept` : "";
      this.drawOver();
    }

    prepare(canvas, { width, height }) {
      const ratio = Math.min(window.devicePixelRatio || 1, 3);
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, width, height);
      return pen;
    }

    drawAxes(pen, { x, y, width, height }) {
      const looks = getComputedStyle(this.area);
      const units = this.look.settings.x;
      pen.font = `11px ${looks.fontFamily}`;
      pen.fillStyle = looks.getPropertyValue("--dim");
      pen.strokeStyle = looks.getPropertyValue("--grid");
      pen.lineWidth = 1;
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      const line = (x0, y0, x1, y1) => { pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke(); };
      for (const value of ticks(y, Math.max(2, Math.floor(height / 48)))) {
        const at = Math.round(y.at(value)) + 0.5;
        line(PAD.left, at, width - PAD.right, at);
        pen.fillText(number(Math.abs(value) < (y.high - y.low) * 1e-9 ? 0 : value), PAD.left - 6, at);
      }
      pen.textBaseline = "top";
      pen.textAlign = "center";
      let end = -Infinity;
      for (const value of ticks(x, Math.max(2, Math.floor(width / 90)), units)) {
        const at = Math.round(x.at(value)) + 0.5;
        const text = units === "seconds" ? duration(value) : Math.abs(value) >= 1e6 ? number(value) : whole(value);
        const half = pen.measureText(text).width / 2;
        line(at, PAD.top, at, height - PAD.bottom);
        const middle = Math.min(at, width - half - 1);
        if (middle - half > end + 8) { pen.fillText(text, middle, height - PAD.bottom + 7); end = middle + half; }
      }
      pen.strokeStyle = looks.getPropertyValue("--dim");
      line(PAD.left, height - PAD.bottom + 0.5, width - PAD.right, height - PAD.bottom + 0.5);
    }

    drawLine(pen, line, scales, alpha) {
      const { smoothing } = this.look.settings;
      pen.strokeStyle = pen.fillStyle = this.colour(line);
      pen.lineJoin = "round";
      if (smoothing) {
        pen.setLineDash([]);
        pen.lineWidth = 1;
        pen.globalAlpha = alpha * 0.28;
        this.trace(pen, line, line.values, scales);
      }
      pen.setLineDash(this.dash(line));
      pen.lineWidth = this.packed.curves.length > 12 ? 1.1 : 1.6;
      pen.globalAlpha = alpha;
      this.trace(pen, line, line.smooth(smoothing), scales);
      pen.setLineDash([]);
      pen.globalAlpha = 1;
    }

    trace(pen, line, values, { x, y, height }) {
      const column = line[this.look.settings.x], log = y.log;
      const first = Math.max(0, search(column, x.low) - 1);
      pen.beginPath();
      let open = false, alone = null;
      const dots = [], beyond = [];
      for (let at = first; at < column.length; at++) {
        const value = values[at];
        const fits = Number.isFinite(value) && !(log && value <= 0) && !(x.log && column[at] <= 0);
        if (fits) {
          const px = x.at(column[at]), py = y.at(value);
          if (open) { pen.lineTo(px, py); alone = null; } else { pen.moveTo(px, py); alone = [px, py]; open = true; }
        } else {
          if (value === Infinity || value === -Infinity) beyond.push([x.at(column[at]), value > 0]);
          if (alone) dots.push(alone);
          open = false;
          alone = null;
        }
        if (column[at] > x.high) break;
      }
      if (alone) dots.push(alone);
      pen.stroke();
      for (const [px, py] of dots) { pen.beginPath(); pen.arc(px, py, 2.5, 0, 7); pen.fill(); }
      for (const [px, up] of beyond) {  // infinite values: a triangle at the edge
        const edge = up ? PAD.top : height - PAD.bottom, way = up ? 1 : -1;
        pen.beginPath();
        pen.moveTo(px, edge);
        pen.lineTo(px - 4, edge + 7 * way);
        pen.lineTo(px + 4, edge + 7 * way);
        pen.fill();
      }
    }

    drawOver() {
      if (!this.scaled) return;
      const scales = this.scaled;
      const pen = this.prepare(this.over, scales);
      const looks = getComputedStyle(this.area);
      if (this.drag?.moved) {
        const { x0, y0, x1, y1 } = this.box();
        pen.fillStyle = looks.getPropertyValue("--mark");
        pen.fillRect(x0, y0, x1 - x0, y1 - y0);
      }
      this.tip.hidden = true;
      if (this.cursor === null || this.drag?.moved) return;
      const found = this.nearest(this.cursor.x, this.cursor.y);
      if (!found.length) return;
      const px = scales.x.at(found[0].x);
      pen.strokeStyle = looks.getPropertyValue("--dim");
      pen.setLineDash([3, 3]);
      pen.beginPath();
      pen.moveTo(px, PAD.top);
      pen.lineTo(px, scales.height - PAD.bottom);
      pen.stroke();
      pen.setLineDash([]);
      for (const one of found) {
        if (!Number.isFinite(one.py)) continue;
        pen.fillStyle = this.colour(one.line);
        pen.beginPath();
        pen.arc(scales.x.at(one.x), one.py, one === found[0] ? 4 : 2.5, 0, 7);
        pen.fill();
      }
      this.showTip(found, px);
    }

    // of each line the point next to a place, among those within a few pixels the one nearest to its height
    nearest(px, py) {
      const { x, y } = this.scaled, { x: units, smoothing } = this.look.settings;
      const found = [];
      for (const line of this.shown()) {
        const column = line[units];
        if (!column.length) continue;
        const soft = line.smooth(smoothing);
        const from = search(column, x.value(px - NEAR_PX)), to = search(column, x.value(px + NEAR_PX));
        let best = null;
        const middle = Math.min(search(column, x.value(px)), column.length - 1);
        const places = to > from ? [from, to] : [Math.max(0, middle - 1), middle + 1];
        for (let at = places[0]; at < places[1] && at < column.length; at++) {
          if (column[at] < x.low || column[at] > x.high) continue;
          const height = y.at(soft[at]);
          const far = to > from && py !== null
            ? Math.abs(Number.isFinite(height) ? height - py : 0) : Math.abs(x.at(column[at]) - px);
          if (best === null || far < best.far)
            best = { far, line, at, x: column[at], value: line.values[at], soft: soft[at], py: height };
        }
        if (best) found.push({ ...best, off: py === null ? 0 : Math.abs((Number.isFinite(best.py) ? best.py : 0) - py) });
      }
      if (py === null) {
        const chosen = found.findIndex((one) => one.line.run === this.chosenRun());
        if (chosen > 0) found.unshift(...found.splice(chosen, 1));
        return found;
      }
      return found.sort((a, b) => a.off - b.off);
    }

    showTip(found, px) {
      const { smoothing } = this.look.settings;
      const first = found[0];
      const line = first.line;
      const head = make("p", "tip-head", `step ${whole(line.step[first.at])} · ${duration(line.seconds[first.at])}`);
      const rows = found.slice(0, TIP_ROWS).map((one) => {
        const row = make("p", one === first ? "tip-row near" : "tip-row");
        const swatch = make("span", "swatch");
        swatch.style.background = this.colour(one.line);
        const value = number(one.value) + (smoothing ? ` (${number(one.soft)})` : "");
        row.append(swatch, make("span", "tip-name", one.line.label), make("span", "tip-value", value));
        return row;
      });
      if (found.length > TIP_ROWS) rows.push(make("p", "tip-more", `and ${found.length - TIP_ROWS} more`));
      this.tip.replaceChildren(head, ...rows);
      this.tip.hidden = false;
      const width = this.tip.offsetWidth, room = this.area.clientWidth;
      const right = px + 14 + width < room;
      this.tip.style.left = `${Math.max(0, Math.min(room - width, right ? px + 14 : px - 14 - width))}px`;
    }

    // --- pointer ---

    place(event) {
      const box = this.area.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    }

    press(event) {
      if (event.button !== 0) return;
      const at = this.place(event);
      this.cursor = at;
      this.drag = { ...at, now: at, moved: false, pan: event.shiftKey, zoom: this.scaled && {
        x: [this.scaled.x.low, this.scaled.x.high], y: [this.scaled.y.low, this.scaled.y.high] } };
      this.area.setPointerCapture(event.pointerId);
    }

    move(event) {
      const at = this.place(event);
      if (this.drag) {
        this.drag.now = at;
        this.drag.moved ||= Math.hypot(at.x - this.drag.x, at.y - this.drag.y) > 5;
        if (this.drag.moved && this.drag.pan) { this.panBy(this.drag.x - at.x); this.drag.x = at.x; return; }
      }
      this.cursor = at;
      this.frame ??= requestAnimationFrame(() => { this.frame = null; this.drawOver(); });
    }

    box() {
      const { x, y, now } = this.drag, { width, height } = this.scaled;
      const across = Math.abs(now.x - x) > 12, down = Math.abs(now.y - y) > 24;
      const within = (value, low, high) => Math.min(high, Math.max(low, value));
      return {
        across, down,
        x0: across ? within(Math.min(x, now.x), PAD.left, width - PAD.right) : PAD.left,
        x1: across ? within(Math.max(x, now.x), PAD.left, width - PAD.right) : width - PAD.right,
        y0: down ? within(Math.min(y, now.y), PAD.top, height - PAD.bottom) : PAD.top,
        y1: down ? within(Math.max(y, now.y), PAD.top, height - PAD.bottom) : height - PAD.bottom,
      };
    }

    release() {
      const drag = this.drag;
      if (drag?.moved && !drag.pan) {
        const { across, down, x0, x1, y0, y1 } = this.box(), { x, y } = this.scaled;
        if ((across || down) && x1 > x0 && y1 > y0) {
          this.zoom = {
            x: [x.value(x0), x.value(x1)],
            y: down ? [y.value(y1), y.value(y0)] : this.zoom?.y,
          };
        }
      }
      this.drag = null;
      this.draw();
    }

    leave() { this.cursor = null; this.drawOver(); }

    wheel(event) {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoomBy(event.deltaY > 0 ? 1.25 : 0.8, this.place(event).x);
    }

    // --- zoom ---

    zoomBy(factor, px) {
      if (!this.scaled) return;
      const { x } = this.scaled;
      const from = PAD.left, to = this.scaled.width - PAD.right;
      const middle = px ?? this.cursor?.x ?? (from + to) / 2;
      const [low, high] = this.whole();
      const found = [x.value(middle + (from - middle) * factor), x.value(middle + (to - middle) * factor)];
      this.zoom = found[0] <= low && found[1] >= high
        ? null : { x: [Math.max(low, found[0]), Math.min(high, found[1])], y: this.zoom?.y };
      this.draw();
    }

    panBy(pixels) {
      if (!this.scaled || !this.zoom?.x) return;
      const { x, width } = this.scaled, [low, high] = this.whole();
      const found = [x.value(PAD.left + pixels), x.value(width - PAD.right + pixels)];
      if (found[0] >= low && found[1] <= high) this.zoom = { ...this.zoom, x: found };
      this.draw();
    }

    reset() { this.zoom = null; this.draw(); }

    // --- keyboard ---

    chosenRun() {
      const lines = this.shown();
      return lines.length ? lines[((this.chosen % lines.length) + lines.length) % lines.length].run : null;
    }

    keyed(event) {
      if (!this.scaled || event.ctrlKey || event.metaKey || event.altKey) return;
      const width = this.scaled.width - PAD.left - PAD.right;
      const step = event.shiftKey ? 1 : Math.max(2, width / 50);
      const to = (x) => {
        this.cursor = { x: Math.min(PAD.left + width, Math.max(PAD.left, x)), y: null };
        this.drawOver();
        this.announce();
      };
      const at = this.cursor?.x ?? PAD.left + width / 2;
      const acts = {
        ArrowLeft: () => to(at - step), ArrowRight: () => to(at + step),
        ArrowUp: () => { this.chosen -= 1; to(at); }, ArrowDown: () => { this.chosen += 1; to(at); },
        Home: () => to(PAD.left), End: () => to(PAD.left + width),
        PageUp: () => this.panBy(-width / 2), PageDown: () => this.panBy(width / 2),
        "+": () => this.zoomBy(0.5), "=": () => this.zoomBy(0.5), "-": () => this.zoomBy(2),
        0: () => this.reset(), Escape: () => { this.reset(); this.leave(); },
      };
      const act = acts[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    }

    announce() {
      const [first] = this.nearest(this.cursor.x, null);
      if (first) this.said.textContent = `${first.line.label}: ${number(first.value)} at step ${whole(first.line.step[first.at])}`;
    }
  }

  return { Chart, make, number };
})();

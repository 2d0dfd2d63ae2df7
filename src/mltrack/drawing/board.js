"use strict";
// A board of charts: its controls, and a chip for each run that shows, hides or marks it.
const mltrackBoard = (() => {
  const { Chart } = mltrackCharts;
  const { make } = mltrackLines;

  const isSystem = (key) => key.startsWith("system/");

  const swatch = (look, palette) => {
    const name = "http://www.w3.org/2000/svg";
    const drawn = document.createElementNS(name, "svg");
    drawn.setAttribute("width", "22");
    drawn.setAttribute("height", "10");
    drawn.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(name, "line");
    for (const [key, value] of Object.entries({ x1: 0, x2: 22, y1: 5, y2: 5, "stroke-width": 3 }))
      line.setAttribute(key, value);
    line.setAttribute("stroke-dasharray", palette.dashes[Math.floor(look / palette.light.length) % palette.dashes.length].join(" "));
    line.setAttribute("class", `c${look % palette.light.length}`);
    drawn.append(line);
    return drawn;
  };

  class Board {
    constructor(host, data) {
      this.settings = { x: "step", logX: false, logY: false, smoothing: 0, hidden: new Set(), marked: null };
      this.data = data;
      this.off = new Set();  // hidden by their chips
      this.filtered = new Set();  // hidden by a filter of the page
      this.charts = [];
      this.host = host;
      host.append(this.controls());
      this.chips = make("div", "chips");
      this.chips.setAttribute("role", "group");
      this.chips.setAttribute("aria-label", "Runs in the charts");
      host.append(this.chips);
      this.addChips();
      this.grid = make("div", "charts");
      host.append(this.grid);
      this.part = "";
      const look = { settings: this.settings, palette: data.palette };
      for (const one of data.charts) {
        const box = make("section", "chart");
        box.setAttribute("aria-label", one.key);
        this.grid.append(box);
        this.charts.push(new Chart(box, one, look));
      }
      this.choose();
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }

    draw() { for (const chart of this.charts) chart.draw(); }

    // a change of an axis: places along x mean something else
    redraw() {
      for (const chart of this.charts) { chart.zoom = null; chart.draw(); }
    }

    controls() {
      const bar = make("div", "controls");
      const labelled = (text, field) => {
        const label = make("label", "", text);
        label.append(field);
        bar.append(label);
        return field;
      };
      const axis = labelled("x axis ", make("select"));
      for (const [value, text] of [["step", "step"], ["seconds", "time since start"]]) {
        const choice = make("option", "", text);
        choice.value = value;
        axis.append(choice);
      }
      axis.addEventListener("change", () => { this.settings.x = axis.value; this.redraw(); });
      const check = (text, key) => {
        const box = labelled(text, make("input"));
        box.type = "checkbox";
        box.addEventListener("change", () => { this.settings[key] = box.checked; this.redraw(); });
      };
      check("log x", "logX");
      check("log y", "logY");
      const soft = labelled("smoothing ", make("input"));
      Object.assign(soft, { type: "range", min: "0", max: "0.99", step: "0.01", value: "0" });
      const amount = make("span", "amount", "0");
      soft.after(amount);
      soft.addEventListener("input", () => {
        this.settings.smoothing = Number(soft.value);
        amount.textContent = soft.value;
        this.draw();
      });
      if (this.data.charts.length > 1) {
        const find = labelled("metrics ", make("input"));
        Object.assign(find, { type: "search", placeholder: "part of a name" });
        find.addEventListener("input", () => { this.part = find.value.toLowerCase(); this.choose(); });
      }
      const system = this.data.charts.filter((chart) => isSystem(chart.key)).length;
      this.system = system === this.data.charts.length;
      if (system && !this.system) {
        const box = labelled(`system metrics (${system})`, make("input"));
        box.type = "checkbox";
        box.addEventListener("change", () => { this.system = box.checked; this.choose(); });
      }
      return bar;
    }

    choose() {  // which charts are shown
      for (const { host, key } of this.charts)
        host.hidden = !key.toLowerCase().includes(this.part) || (isSystem(key) && !this.system);
    }

    addChips() {
      const runs = new Map();
      for (const chart of this.data.charts) for (const one of chart.curves) runs.set(one.run, one);
      this.buttons = new Map();
      for (const [run, { label, look }] of runs) {
        const chip = make("button", "chip");
        chip.type = "button";
        chip.setAttribute("aria-pressed", "true");
        chip.append(swatch(look, this.data.palette), make("span", "", label));
        chip.addEventListener("click", () => {
          if (!this.off.delete(run)) this.off.add(run);
          this.update();
        });
        for (const event of ["pointerenter", "focus"]) chip.addEventListener(event, () => this.mark(run));
        for (const event of ["pointerleave", "blur"]) chip.addEventListener(event, () => this.mark(null));
        this.chips.append(chip);
        this.buttons.set(run, chip);
      }
      if (runs.size < 3) return;
      for (const [text, off] of [["all", []], ["none", [...runs.keys()]]]) {
        const all = make("button", "chip plain", text);
        all.type = "button";
        all.setAttribute("aria-label", `Show ${text} of the runs`);
        all.addEventListener("click", () => { this.off = new Set(off); this.update(); });
        this.chips.append(all);
      }
    }

    mark(run) {
      if (this.settings.marked === run) return;
      this.settings.marked = run;
      this.draw();
    }

    update() {
      this.settings.hidden.clear();
      for (const run of [...this.off, ...this.filtered]) this.settings.hidden.add(run);
      for (const [run, chip] of this.buttons) {
        chip.setAttribute("aria-pressed", String(!this.off.has(run)));
        chip.hidden = this.filtered.has(run);
      }
      this.draw();
    }
  }

  return { Board, swatch };
})();

"use strict";
// The table of runs: sorting by its headings, and a filter of words and comparisons.
const mltrackRuns = (() => {
  const OPERATORS = {
    "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "!=": (a, b) => a !== b,
    "=": (a, b) => a === b, "<": (a, b) => a < b, ">": (a, b) => a > b,
  };
  const TERM = /^(.+?)(<=|>=|!=|=|<|>)(.*)$/;

  const asNumber = (value) => {
    if (typeof value === "number") return value;
    if (value === "NaN") return NaN;
    if (value === "Infinity" || value === "-Infinity") return Number(value);
    return typeof value === "string" && value.trim() !== "" && !Number.isNaN(Number(value)) ? Number(value) : null;
  };

  // terms are separated by spaces; one in quotes keeps its own
  const terms = (text) => (text.match(/(?:[^\s"]|"[^"]*(?:"|$))+/g) ?? []).map((term) => term.replaceAll('"', ""));

  const valueOf = (run, name) => {
    for (const kind of ["metric", "param", "info"]) {
      const key = name.startsWith(`${kind}.`) ? name.slice(kind.length + 1)
        : name.startsWith(`${kind}s.`) ? name.slice(kind.length + 2) : name;
      if (Object.hasOwn(run[kind], key)) return run[kind][key];
    }
    return undefined;
  };

  const matches = (run, term) => {
    const found = TERM.exec(term);
    if (found) {
      const [, name, sign, text] = found;
      const value = valueOf(run, name);
      if (value === undefined || value === null) return false;
      const a = asNumber(value), b = asNumber(text);
      if (a !== null && b !== null) return OPERATORS[sign](a, b);
      return OPERATORS[sign](String(value).toLowerCase(), text.toLowerCase());
    }
    const word = term.toLowerCase();
    const texts = [run.info.run, run.info.id, run.info.status, run.info.experiment, ...Object.values(run.param)];
    return texts.some((one) => String(one).toLowerCase().includes(word));
  };

  const compare = (a, b) => {
    const x = asNumber(a), y = asNumber(b);
    if (x !== null && y !== null) return Number.isNaN(x) ? (Number.isNaN(y) ? 0 : 1) : Number.isNaN(y) ? -1 : x - y;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };

  class RunsTable {
    constructor(table, data, { filter, said, onFilter, onMark }) {
      Object.assign(this, { table, data, said, onFilter });
      this.body = table.tBodies[0];
      this.rows = Array.from(this.body.rows);
      for (const button of table.querySelectorAll(".sort")) button.addEventListener("click", () => this.sort(button));
      filter.addEventListener("input", () => this.filter(filter.value));
      for (const row of this.rows) {
        row.addEventListener("pointerenter", () => onMark(row.dataset.run));
        row.addEventListener("pointerleave", () => onMark(null));
      }
      if (filter.value) this.filter(filter.value);
    }

    sort(button) {
      const head = button.closest("th");
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of this.table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const at = button.dataset.key.indexOf(".");
      const kind = button.dataset.key.slice(0, at), key = button.dataset.key.slice(at + 1);
      const value = (row) => this.data[row.dataset.run][kind][key];
      const missing = (one) => one === undefined || one === null;
      const sorted = [...this.rows].sort((a, b) => {
        const x = value(a), y = value(b);
        if (missing(x) || missing(y)) return missing(x) - missing(y);  // those without a value come last
        return down ? compare(y, x) : compare(x, y);
      });
      this.body.append(...sorted);
    }

    filter(text) {
      const wanted = terms(text);
      const hidden = new Set();
      for (const row of this.rows) {
        const run = this.data[row.dataset.run];
        row.hidden = !wanted.every((term) => matches(run, term));
        if (row.hidden) hidden.add(row.dataset.run);
      }
      const unknown = wanted.map((term) => TERM.exec(term)?.[1])
        .find((name) => name && !this.rows.some((row) => valueOf(this.data[row.dataset.run], name) !== undefined));
      const shown = this.rows.length - hidden.size;
      this.said.textContent = unknown ? `no run has ${unknown}`
        : hidden.size ? `${shown} of ${this.rows.length} runs` : `${shown} ${shown === 1 ? "run" : "runs"}`;
      this.onFilter(hidden);
    }
  }

  return { RunsTable };
})();

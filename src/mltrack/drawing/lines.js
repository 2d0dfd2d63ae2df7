"use strict";
// What charts are made of: packed columns, scales and their ticks, smoothing, numbers as text.
// Text reaches the page through textContent only.
const mltrackLines = (() => {
  const KINDS = { b: Uint8Array, i: Int32Array, f: Float32Array, d: Float64Array };

  const decode = (text) => {
    const bytes = Uint8Array.from(atob(text.slice(1)), (sign) => sign.charCodeAt(0));
    return new KINDS[text[0]](bytes.buffer);
  };

  const make = (name, looks, text) => {
    const made = document.createElement(name);
    if (looks) made.className = looks;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const number = (value) => {
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
    const size = Math.abs(value);
    if (value === Math.round(value) && size < 1e9) return String(value);
    return size >= 1e-4 && size < 1e6 ? String(Number(value.toPrecision(6))) : value.toExponential(4);
  };
  const whole = (value) => Math.round(value).toLocaleString("en-US");
  const duration = (seconds) => {
    const size = Math.abs(seconds);
    if (size < 60) return `${Number(seconds.toPrecision(3))}s`;
    if (size < 3600) return `${Number((seconds / 60).toPrecision(3))}m`;
    if (size < 172800) return `${Number((seconds / 3600).toPrecision(3))}h`;
    return `${Number((seconds / 86400).toPrecision(3))}d`;
  };

  // a scale between values and pixels; logarithmic ones work in powers of ten
  const scale = (low, high, from, to, log) => {
    const on = log ? Math.log10 : (value) => value;
    const a = on(low), b = on(high), spread = b - a || 1;
    return {
      low, high, log,
      at: (value) => from + (on(value) - a) / spread * (to - from),
      value: (pixel) => {
        const found = a + (pixel - from) / (to - from) * spread;
        return log ? 10 ** found : found;
      },
    };
  };

  const ticks = (axis, most, units) => {
    if (axis.log) {
      const first = Math.ceil(Math.log10(axis.low)), last = Math.floor(Math.log10(axis.high));
      if (last > first) {
        const every = Math.max(1, Math.ceil((last - first + 1) / most));
        return Array.from({ length: Math.floor((last - first) / every) + 1 }, (_, at) => 10 ** (first + at * every));
      }
    }
    const raw = (axis.high - axis.low) / most;
    if (!(raw > 0)) return [axis.low];
    const sizes = units === "seconds" && raw > 20
      ? [30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000, 864000]
      : [1, 2, 5, 10].map((size) => size * 10 ** Math.floor(Math.log10(raw)));
    let size = sizes.find((one) => one >= raw) ?? raw;
    if (units === "step") size = Math.max(1, size);
    const first = Math.ceil(axis.low / size - 1e-9), last = Math.floor(axis.high / size + 1e-9);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => (first + at) * size);
  };

  const search = (column, value) => {  // the first place whose value is not less
    let low = 0, high = column.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (column[middle] < value) low = middle + 1; else high = middle;
    }
    return low;
  };

  // an exponential average without the bias towards zero at its start, and without that of points kept as peaks
  const smoothed = (values, even, weight) => {
    const found = new Float64Array(values.length);
    let last = 0, share = 0;
    for (let at = 0; at < values.length; at++) {
      const value = values[at];
      if (Number.isFinite(value) && (even(at) || !share)) {
        last = last * weight + (1 - weight) * value;
        share = share * weight + (1 - weight);
      }
      found[at] = Number.isFinite(value) ? last / share : value;
    }
    return found;
  };

  class Line {
    constructor(packed) {
      Object.assign(this, { run: packed.run, label: packed.label, look: packed.look, count: packed.count });
      this.step = decode(packed.steps);
      this.seconds = decode(packed.seconds);
      this.values = decode(packed.values);
      const bits = packed.even ? decode(packed.even) : null;
      this.even = bits ? (at) => (bits[at >> 3] >> (at & 7)) & 1 : () => true;
      this.soft = null;
      this.softness = 0;
    }
    along(units) {  // the points in the order of an axis
      if (units === "step") return this;
      if (!this.byTime) {
        const rises = this.seconds.every((value, at) => at === 0 || value >= this.seconds[at - 1]);
        if (rises) this.byTime = this;
        else {
          const order = Array.from(this.seconds.keys()).sort((a, b) => this.seconds[a] - this.seconds[b]);
          this.byTime = Object.create(Line.prototype);
          Object.assign(this.byTime, { run: this.run, label: this.label, look: this.look, count: this.count });
          this.byTime.even = (at) => this.even(order[at]);
          for (const name of ["step", "seconds", "values"])
            this.byTime[name] = Float64Array.from(order, (at) => this[name][at]);
        }
      }
      return this.byTime;
    }
    smooth(weight) {
      if (weight && (this.softness !== weight || !this.soft)) {
        this.soft = smoothed(this.values, this.even, weight);
        this.softness = weight;
      }
      return weight ? this.soft : this.values;
    }
  }

  return { Line, make, number, whole, duration, scale, ticks, search };
})();

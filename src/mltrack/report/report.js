"use strict";
// Brings a report to life.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const place = document.getElementById("board");
  const board = place ? new mltrackBoard.Board(place, read("chart-data")) : null;
  new mltrackRuns.RunsTable(document.getElementById("runs-table"), read("run-data"), {
    filter: document.getElementById("filter"),
    said: document.getElementById("filter-said"),
    onFilter: (hidden) => {
      if (!board) return;
      board.filtered = hidden;
      board.update();
    },
    onMark: (run) => board?.mark(run),
  });
})();

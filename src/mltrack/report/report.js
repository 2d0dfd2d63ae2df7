"use strict";
// Brings a report to life.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  for (const log of document.querySelectorAll("#logs details")) {  // a log shows its end
    const show = () => { for (const box of log.querySelectorAll(".scroll")) box.scrollTop = box.scrollHeight; };
    log.addEventListener("toggle", show);
    show();
  }
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
